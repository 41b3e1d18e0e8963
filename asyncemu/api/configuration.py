# SPDX-License-Identifier: GPL-2.0-or-later
"""The configuration of a machine that a program runs: a vm.toml or tables, with the console in the program's hands."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asyncemu.config import VmConfig
from asyncemu.config.load import check, read_toml
from asyncemu.config.overrides import apply_override
from asyncemu.errors import ConfigError

#: The chardev that the UART takes when [machine] serial does not say otherwise.
DEFAULT_CONSOLE = "console"


def configure(
    config: str | Path | Mapping[str, Any], overrides: Sequence[str], directory: Path | None, console: bool
) -> tuple[VmConfig, str]:
    """The checked configuration, and the id of the chardev that the program is the other end of; empty: none.

    ``config`` is the path of a vm.toml, or its tables. With ``console``, the UART's chardev gets the back end
    ``python``, whatever it had: what is a terminal when a person runs the machine is the program then.
    Raises ConfigErrors.
    """
    if isinstance(config, Mapping):
        tables = copy.deepcopy(dict(config))
        directory = directory or Path()
    else:
        path = Path(config)
        tables = read_toml(path)
        directory = directory or path.parent
    for override in overrides:
        apply_override(tables, override)
    id = _take_console(tables) if console else ""
    return check(tables, directory), id


def _take_console(tables: dict[str, Any]) -> str:
    machine, chardevs = tables.get("machine", {}), tables.setdefault("chardev", [])
    if not isinstance(machine, dict) or not isinstance(chardevs, list):
        raise ConfigError("chardev", "is not a list of tables", "write [[chardev]]")
    id = machine.get("serial") or DEFAULT_CONSOLE
    ours = {"id": id, "backend": "python"}
    for index, table in enumerate(chardevs):
        if isinstance(table, dict) and table.get("id") == id:
            kept = {key: table[key] for key in ("mux", "logfile", "logappend") if key in table}
            chardevs[index] = {**ours, **kept}
            return str(id)
    chardevs.append(ours)
    return str(id)
