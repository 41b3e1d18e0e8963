# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading vm.toml: all that is wrong with it is found in one pass, each with its TOML path."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from asyncemu.config.overrides import apply_override
from asyncemu.config.vm import VmConfig
from asyncemu.errors import ConfigError, ConfigErrors
from asyncemu.machine import MachineOptions
from asyncemu.machine.references import references
from asyncemu.plugin_options import Configured, configure, validate
from asyncemu.plugins import Options, nearest

ResultT = TypeVar("ResultT")

#: Tables of vm.toml; all but [machine] may be there several times.
LISTS = ("chardev", "blockdev", "device")

#: A configuration is written by hand: one larger than this is some other file. Bytes.
MAX_FILE_SIZE = 1 << 20


def load(path: Path, overrides: Sequence[str] = ()) -> VmConfig:
    """The configuration in the file ``path`` with ``KEY=VALUE`` overrides. Raises ConfigErrors with all that is wrong."""
    tables = read_toml(path)
    for override in overrides:
        apply_override(tables, override)
    return check(tables, path.parent)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises ConfigError."""
    try:
        if path.stat().st_size > MAX_FILE_SIZE:
            raise ConfigError(str(path), f"is larger than {MAX_FILE_SIZE} bytes: is it a vm.toml?")
        text = path.read_bytes().decode()
    except OSError as error:
        raise ConfigError(str(path), (error.strerror or str(error)).lower()) from error
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"byte {error.start} is not UTF-8: is it a vm.toml?") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        raise ConfigError(str(path), message[0].lower() + message[1:]) from error


def check(tables: Mapping[str, Any], directory: Path) -> VmConfig:
    """``tables`` as a VmConfig. Raises ConfigErrors with all that is wrong."""
    errors: list[ConfigError] = []

    def collect(function: Callable[[], ResultT]) -> ResultT | None:
        try:
            return function()
        except ConfigErrors as several:
            errors.extend(several.errors)
        except ConfigError as error:
            errors.append(error)
        return None

    for key in tables:
        if key != "machine" and key not in LISTS:
            errors.append(ConfigError(key, "unknown table", nearest(key, ["machine", *LISTS])))
    machine = collect(
        lambda: validate(MachineOptions, _table(tables.get("machine", {}), "machine"), "machine", directory)
    )
    configured: dict[str, list[Configured]] = {}
    blockdevs: list[Mapping[str, Any]] = []
    for kind in LISTS:
        configured[kind] = []
        entries = tables.get(kind, [])
        if not isinstance(entries, list):
            errors.append(ConfigError(kind, "is one table", f"write [[{kind}]]"))
            continue
        for index, entry in enumerate(entries):
            where = f"{kind}[{index}]"
            one = collect(
                lambda entry=entry, where=where, kind=kind: configure(kind, _table(entry, where), where, directory)
            )
            if one is not None:
                configured[kind].append(one)
                if kind == "blockdev":
                    blockdevs.append(entry)
    _check_references(machine, configured, errors)
    if errors:
        raise ConfigErrors(errors)
    assert machine is not None
    return VmConfig(machine, configured["chardev"], blockdevs, configured["device"], directory)


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(where, "is not a table")
    return value


def _check_references(
    machine: MachineOptions | None, configured: Mapping[str, Sequence[Configured]], errors: list[ConfigError]
) -> None:
    known = {kind: [each.identity for each in configured[kind]] for kind in ("chardev", "blockdev")}
    users: list[tuple[Options | None, str]] = [(machine, "machine")]
    users += [(device.options, f"device[{index}]") for index, device in enumerate(configured["device"])]
    for options, where in users:
        if options is None:
            continue
        for path, _, kind, name in references(options, where):
            if name not in known[kind]:
                errors.append(ConfigError(path, f"no {kind} is named {name!r}", nearest(name, known[kind])))
