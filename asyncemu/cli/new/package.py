# SPDX-License-Identifier: GPL-2.0-or-later
"""The package that is written: templates, filled in with the names.

Templates are the files in ``templates``, for string.Template: those of ``common`` and those of the kind. The package is
made beside its place and moved there whole, so that nothing is left of one that can't be written.
"""

from __future__ import annotations

import os
import tempfile
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Final

from asyncemu.cli.new.kinds import KINDS
from asyncemu.cli.new.names import class_of, package_of
from asyncemu.errors import ConfigError

#: The file that holds the class, without its ending: the kind's name says what is in it.
MODULES: Final = {
    "device": "device",
    "virtio": "device",
    "block": "driver",
    "net": "backend",
    "chardev": "backend",
    "filter": "netfilter",
}


def rendered(kind: str, name: str) -> dict[str, str]:
    """The files of the package: path below its directory → contents."""
    package, module = package_of(name), MODULES[kind]
    values = {
        "name": name,
        "package": package,
        "module": module,
        "class_name": class_of(name),
        "description": KINDS[kind].title,
        "by_name": f'{KINDS[kind].key} = "{name}"',
        "guide": KINDS[kind].guide,
    }
    sources = {
        "pyproject.toml": "common/pyproject.toml",
        "README.md": "common/README.md",
        "vm.toml": f"{kind}/vm.toml",
        f"{package}/__init__.py": "common/init.py",
        f"{package}/{module}.py": f"{kind}/module.py",
        "tests/__init__.py": "common/tests_init.py",
        "tests/test_example.py": "common/test_example.py",
        f"tests/test_{module}.py": f"{kind}/test.py",
    }
    templates = files("asyncemu.cli.new") / "templates"
    contents = {
        path: Template((templates / f"{source}.template").read_text("utf-8")).substitute(values)
        for path, source in sources.items()
    }
    return {**contents, f"{package}/py.typed": ""}


def write_package(kind: str, name: str, directory: Path) -> list[Path]:
    """Write it to ``directory``, which is made; the files. Raises ConfigError, and then has left nothing."""
    contents = rendered(kind, name)
    if os.path.lexists(directory):
        raise ConfigError(str(directory), "is there already", "name another --directory, or remove it")
    try:
        with tempfile.TemporaryDirectory(prefix=".asyncemu-new-", dir=directory.parent) as beside:
            made = Path(beside) / "package"
            for path, text in contents.items():
                file = made / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
            # Fails where somebody has made a directory meanwhile that is not empty.
            made.rename(directory)
    except OSError as error:
        raise ConfigError(str(directory), f"can't be written: {error.strerror}") from error
    return [directory / path for path in contents]
