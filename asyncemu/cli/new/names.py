# SPDX-License-Identifier: GPL-2.0-or-later
"""Which names a plug-in may have: one that works in vm.toml, as a package of Python and as a project."""

from __future__ import annotations

import keyword
import re
import sys
from typing import Final

from asyncemu.cli.new.kinds import Kind
from asyncemu.errors import ConfigError

#: Characters: so that no line of the templates becomes too long.
MAX_NAME: Final = 24

_name: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

#: What the package is next to, or imports.
_TAKEN: Final = frozenset({"asyncemu", "pydantic", "pytest", "tests", "test", "uvloop"})


def package_of(name: str) -> str:
    """The name of the Python package."""
    return name.replace("-", "_")


def class_of(name: str) -> str:
    """The name of the class: ``MyClock`` for ``my-clock``."""
    return "".join(word.capitalize() for word in name.split("-"))


def check_name(kind: Kind, name: str) -> None:
    """Raises ConfigError for what can't be."""
    if len(name) > MAX_NAME:
        raise ConfigError("name", f"{name[:40]!r} is too long", f"use {MAX_NAME} characters at most")
    if not _name.fullmatch(name):
        raise ConfigError("name", f"{name!r} can't be used", "small letters, digits and dashes, like my-clock")
    package = package_of(name)
    if keyword.iskeyword(package) or package in _TAKEN or package in sys.stdlib_module_names:
        raise ConfigError("name", f"Python needs the name {package!r} for itself", "choose another one")
    from asyncemu.plugins import names

    if name in names(kind.table):
        raise ConfigError("name", f"a [[{kind.table}]] {name!r} is there already", "choose another one")
