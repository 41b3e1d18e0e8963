# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading vm.toml: all that is wrong with it is found in one pass, each with its TOML path."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asyncemu.config.consistency import consistency_errors
from asyncemu.config.overrides import apply_override
from asyncemu.config.vm import VmConfig
from asyncemu.errors import ConfigError, ConfigErrors
from asyncemu.machine import MachineOptions
from asyncemu.machine.iothreads import configure_iothread
from asyncemu.machine.throttle_groups import configure_throttle_group
from asyncemu.plugin_options import Configured, configure, validate
from asyncemu.spelling import nearest

if TYPE_CHECKING:
    from asyncemu.monitor.options import MonitorEntry

ResultT = TypeVar("ResultT")

#: Tables of vm.toml; all but [machine] and [qmp] may be there several times.
LISTS: Final = ("chardev", "netdev", "netfilter", "blockdev", "device")
#: All but [machine].
TABLES: Final = (*LISTS, "iothread", "throttle-group", "monitor", "qmp")

#: A configuration is written by hand: one larger than this is some other file. Bytes.
MAX_FILE_SIZE: Final = 1 << 20

#: Entries of one list: more than any board has room for, and few enough to look at in a blink.
MAX_ENTRIES: Final = 1024


def load(path: Path, overrides: Sequence[str] = ()) -> VmConfig:
    """The configuration in the file ``path`` with ``KEY=VALUE`` overrides. Raises ConfigErrors with all its faults."""
    tables = read_toml(path)
    for override in overrides:
        apply_override(tables, override)
    return check(tables, path.parent)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError."""
    where = str(path)
    try:
        with path.open("rb") as file:
            # Not by what stat(2) says: /dev/zero has no size, and neither has a pipe (vm.toml from a program).
            content = file.read(MAX_FILE_SIZE + 1)
        if len(content) > MAX_FILE_SIZE:
            raise ConfigError(where, f"has more than {MAX_FILE_SIZE >> 20} MiB", "give a vm.toml")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise ConfigError(where, (error.strerror or str(error)).lower(), "give the path of a vm.toml") from error
    except UnicodeDecodeError as error:
        raise ConfigError(where, f"byte {error.start} is not UTF-8", "give a vm.toml") from error
    except RecursionError:
        raise ConfigError(where, "is nested too deeply", "give a vm.toml") from None
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise ConfigError(where, f"is not TOML: {message[:1].lower()}{message[1:]}", "correct it") from error
    except ValueError as error:  # int()'s own, and open()'s: NUL in the path
        raise ConfigError(where, str(error).partition(":")[0].lower(), "give a vm.toml") from error


def check(tables: Mapping[str, Any], directory: Path) -> VmConfig:
    """``tables`` as a VmConfig; paths are relative to ``directory``. Raises ConfigErrors with all that is wrong."""
    errors: list[ConfigError] = []
    for key in tables:
        if key != "machine" and key not in TABLES:
            from asyncemu.spelling import toml_path

            errors.append(ConfigError(toml_path("", key), "unknown table", nearest(key, ["machine", *TABLES])))
    machine = _collect(
        errors, lambda: validate(MachineOptions, _table(tables.get("machine", {}), "machine"), "machine", directory)
    )
    configured = {
        kind: _entries(kind, tables.get(kind, []), errors, partial(_entry, kind, directory)) for kind in LISTS
    }
    iothreads = _entries("iothread", tables.get("iothread", []), errors, configure_iothread)
    groups = _entries("throttle-group", tables.get("throttle-group", []), errors, configure_throttle_group)
    monitors = _monitors(tables, directory, errors) if "qmp" in tables or "monitor" in tables else []
    errors += consistency_errors(
        machine, configured, iothreads, groups, tables.get("blockdev", []), directory, monitors
    )
    if errors:
        raise ConfigErrors(errors)
    assert machine is not None  # or there would be an error
    parts = {kind: [each for each in configured[kind] if each is not None] for kind in LISTS}
    parameters = {entry.identity: entry.options.parameters() for entry in iothreads if entry is not None}
    limits = {entry.identity: entry.config for entry in groups if entry is not None}
    return VmConfig(
        machine,
        parameters,
        limits,
        chardevs=parts["chardev"],
        netdevs=parts["netdev"],
        netfilters=parts["netfilter"],
        blockdevs=parts["blockdev"],
        blockdev_tables=tables.get("blockdev", []),
        devices=parts["device"],
        directory=directory,
        monitors=monitors,
    )


def _monitors(tables: Mapping[str, Any], directory: Path, errors: list[ConfigError]) -> list[MonitorEntry]:
    """Those of [qmp] and [[monitor]] that are right."""
    # Imported when it is needed: a machine without monitors does not wait for it.
    from asyncemu.monitor.options import configure_monitor, configure_qmp, name_errors

    entries = [
        entry
        for entry in _entries("monitor", tables.get("monitor", []), errors, configure_monitor)
        if entry is not None
    ]
    if "qmp" in tables:
        entries += _collect(errors, lambda: configure_qmp(_table(tables["qmp"], "qmp"), directory)) or []
    chardevs = tables.get("chardev", [])
    names = {entry.get("id") for entry in chardevs if isinstance(entry, dict)} if isinstance(chardevs, list) else set()
    errors += name_errors(entries, names)
    return entries


def _entries(
    kind: str, entries: Any, errors: list[ConfigError], configure_entry: Callable[[Mapping[str, Any], str], ResultT]
) -> list[ResultT | None]:
    """The entries of a list, with None for those that are wrong, so that the others keep their numbers."""
    if not isinstance(entries, list):
        errors.append(ConfigError(kind, "is not a list of tables", f"write [[{kind}]]"))
        return []
    if len(entries) > MAX_ENTRIES:
        errors.append(ConfigError(kind, f"has {len(entries)} entries", f"give {MAX_ENTRIES} at most"))
        return []

    def entry_at(index: int) -> ResultT:
        where = f"{kind}[{index}]"
        return configure_entry(_table(entries[index], where), where)

    return [_collect(errors, partial(entry_at, index)) for index in range(len(entries))]


def _entry(kind: str, directory: Path, table: Mapping[str, Any], where: str) -> Configured:
    return configure(kind, table, where, directory, all_errors=True)


def _collect(errors: list[ConfigError], function: Callable[[], ResultT]) -> ResultT | None:
    try:
        return function()
    except ConfigErrors as several:
        errors.extend(several.errors)
    except ConfigError as error:
        errors.append(error)
    return None


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(where, "is not a table")
    return value
