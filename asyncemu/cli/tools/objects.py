# SPDX-License-Identifier: GPL-2.0-or-later
"""``--object TYPE,id=NAME,key=value``: what images refer to by name. QEMU: user_creatable_add_opts.

Types are ``secret``, ``throttle-group`` and ``tls-creds-x509``. Others that QEMU knows are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.option_strings import split_options
from asyncemu.plain_options import PlainOptions


class UserObjects:
    """Objects by id: their types and options."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[str, PlainOptions]] = {}

    def add(self, text: str) -> None:
        """Define what the argument of ``--object`` says. ToolError."""
        table = _table(text)
        kind, identity = _take(table, "qom-type"), _take(table, "id")
        options = _options_type(kind).parse(table, "--object")
        if identity in self._objects:
            raise ToolError(f"attempt to add duplicate property '{identity}' to object (type 'container')")
        self._objects[identity] = kind, options

    def find(self, kind: str, identity: str) -> PlainOptions | None:
        """The options of the object of that type and name."""
        found = self._objects.get(identity)
        return found[1] if found is not None and found[0] == kind else None

    def all(self, kind: str) -> dict[str, PlainOptions]:
        """Those of one type."""
        return {identity: options for identity, (each, options) in self._objects.items() if each == kind}
