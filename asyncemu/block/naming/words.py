# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU's tools say of options that are wrong: scripts look at these words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from asyncemu.block.naming.protocols import is_protocol
from asyncemu.block.naming.tables import flattened
from asyncemu.errors import ConfigError
from asyncemu.option_values import OptionError
from asyncemu.plugins import UnknownPlugin

_SIZE: Final = (
    "Parameter '{}' expects a non-negative number below 2^64\n"
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
    "and exabytes, respectively."
)
_EXPECTED: Final = {
    "true or false": "Parameter '{}' expects 'on' or 'off'",
    "a size": _SIZE,
    "a whole number": "Parameter '{}' expects a number",
    "a list": "Invalid parameter type for '{}', expected: array",
    "a table": "Invalid parameter type for '{}', expected: object",
    "text": "Invalid parameter type for '{}', expected: string",
}


def qemu_words(error: ConfigError) -> str:
    """The problem that ``error`` is about; of several lines where QEMU adds a hint."""
    match error:
        case OptionError():
            return _of_option(error)
        case UnknownPlugin(kind="blockdev"):
            return f"Unknown driver '{error.name}'"
        case _:
            return error.problem


def _of_option(error: OptionError) -> str:
    driver = str(getattr(error.plugin, "name", ""))
    option, value = error.option, error.value
    if error.flaw == "unknown" and isinstance(value, Mapping) and value:
        # QEMU has no tables there, but dotted keys.
        option = next(iter(flattened({option: value})))
    children = {getattr(slot, "name", slot) for slot in getattr(error.plugin, "children", ())}
    if option in children and error.flaw != "unknown":
        return f'A block device must be specified for "{option}"'
    if option == "filename" and error.flaw in ("missing", "value"):
        return f"The '{driver}' block driver requires a file name"
    match error.flaw:
        case "unknown" if driver and is_protocol(driver):
            return f"Block protocol '{driver}' doesn't support the option '{option}'"
        case "unknown" if driver:
            return f"Block format '{driver}' does not support the option '{option}'"
        case "missing":
            return f"Parameter '{_last(option)}' is missing"
        case "value" if error.expected in _EXPECTED:
            return _EXPECTED[error.expected].format(option)
        case "choice" if option == "discard":
            return "Invalid discard option"
        case "choice" if option.endswith(".type"):
            return f"Parameter '{_last(option)}' does not accept value '{value}'"
        case "choice":
            return f"invalid parameter value: {value}"
        case _:
            return error.problem


def _last(option: str) -> str:
    return option.rpartition(".")[2]
