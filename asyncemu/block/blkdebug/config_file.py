# SPDX-License-Identifier: GPL-2.0-or-later
"""Rules from a file, in the syntax of QEMU's configuration files.

    [inject-error]
    event = "read_aio"
    errno = "5"
    once = "on"

    [set-state]
    event = "write_aio"
    new_state = "2"

Lines are read as QEMU's own reader does: a name ends at white space, so there must be some before the ``=``; what
follows the closing quote does not count. QEMU: qemu_config_foreach.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from asyncemu.block.blkdebug.rules import InjectErrorOptions, SetStateOptions
from asyncemu.errors import ConfigError
from asyncemu.plain_options import PlainOptions

OptionsT = TypeVar("OptionsT", bound=PlainOptions)

#: Bytes; written by hand or by a test, such a file has a few lines.
MAX_FILE_SIZE: Final = 1 << 20

_named_group: Final = re.compile(r'\[(\S{1,63})\s*"([^"]{1,63})')
_group: Final = re.compile(r"\[([^\]]{1,63})")
_assignment: Final = re.compile(r'\s*(\S{1,63})\s*=\s*"([^"]{1,1023})')
_word: Final = re.compile(r"\s*(\S{1,63})")
_identifier: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]*", re.ASCII)
_number: Final = re.compile(r"\s*([+-]?)(?:0[xX]([0-9a-fA-F]{1,40})|(0[0-7]{0,40})|([1-9][0-9]{0,40}))", re.ASCII)

_TRUE: Final = frozenset({"on", "yes", "true", "y"})
_FALSE: Final = frozenset({"off", "no", "false", "n"})

#: As an unsigned number of C's that a sign wraps around.
_MODULUS: Final = 1 << 64


def read_config_file(filename: str, where: str) -> tuple[list[InjectErrorOptions], list[SetStateOptions]]:
    """The rules in a file. ConfigError, in QEMU's words."""
    try:
        with open(filename, "rb") as file:  # noqa: PTH123 (pathlib takes 5 ms to import)
            content = file.read(MAX_FILE_SIZE + 1)
    except (OSError, ValueError) as error:
        text = os.strerror(error.errno or 0) if isinstance(error, OSError) else str(error)
        raise ConfigError(where, f"Could not read blkdebug config file: {text}") from error
    if len(content) > MAX_FILE_SIZE:
        raise ConfigError(where, f"blkdebug config file has more than {MAX_FILE_SIZE} bytes")
    return parse_config(content.decode(errors="replace"), where)


def parse_config(text: str, where: str) -> tuple[list[InjectErrorOptions], list[SetStateOptions]]:
    """The rules in the text of a file. ConfigError, in QEMU's words."""
    errors: list[InjectErrorOptions] = []
    states: list[SetStateOptions] = []
    identities: set[tuple[str, str]] = set()
    for group, values in _groups(text, where):
        if group not in ("inject-error", "set-state"):
            raise ConfigError(where, f"There is no option group '{group}'")
        identity = values.pop("id", "")
        if identity and not _identifier.fullmatch(identity):
            raise ConfigError(where, "Parameter 'id' expects an identifier")
        if identity and (group, identity) in identities:
            raise ConfigError(where, f"Duplicate ID '{identity}' for {group}")
        identities.add((group, identity))
        if group == "inject-error":
            errors.append(_options(InjectErrorOptions, values, where))
        else:
            states.append(_options(SetStateOptions, values, where))
    return errors, states


def _groups(text: str, where: str) -> list[tuple[str, dict[str, str]]]:
    groups: list[tuple[str, dict[str, str]]] = []
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        if found := _named_group.match(line):
            groups.append((found[1], {"id": found[2]}))
        elif found := _group.match(line):
            groups.append((found[1], {}))
        elif found := _word.match(line):
            if not groups:
                raise ConfigError(where, "no group defined")
            assigned = _assignment.match(line)
            groups[-1][1][found[1]] = assigned[2] if assigned and assigned[1] == found[1] else ""
        else:
            raise ConfigError(where, "parse error")
    return groups


def _options(options_type: type[OptionsT], values: Mapping[str, str], where: str) -> OptionsT:
    fields = options_type.annotations()
    converted: dict[str, Any] = {}
    for name, text in values.items():
        if name in fields:
            convert = {int: _integer, bool: _boolean}.get(fields[name])
            converted[name] = convert(name, text, where) if convert is not None else text
    for name in values:
        if name not in fields:
            raise ConfigError(where, f"Invalid parameter '{name}'")
    return options_type(**converted)


def _integer(name: str, text: str, where: str) -> int:
    found = _number.fullmatch(text)
    if found is None:
        raise ConfigError(where, f"Parameter '{name}' expects a number")
    sign, hexadecimal, octal, decimal = found.groups()
    number = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    if number >= _MODULUS:
        raise ConfigError(where, f"Value '{text}' is too large for parameter '{name}'")
    return -number if sign == "-" else number


def _boolean(name: str, text: str, where: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ConfigError(where, f"Parameter '{name}' expects 'on' or 'off'")
    return text in _TRUE
