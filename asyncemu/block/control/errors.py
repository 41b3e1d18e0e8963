# SPDX-License-Identifier: GPL-2.0-or-later
"""Why a command on the block layer can't be done, in QEMU's words.

ControlError          "Node d0 is in use"
└── NoSuchDevice      "Device 'x' not found": QMP has a class of its own for these, DeviceNotFound
"""

from __future__ import annotations

import os
from typing import Final

from asyncemu.errors import AsyncemuError, ConfigError, HostError
from asyncemu.option_values import OptionError
from asyncemu.plugins import UnknownPlugin

#: QAPI's name of what an option should have been, by ours.
_QAPI_TYPES: Final = {
    "true or false": "boolean",
    "a size": "integer",
    "a whole number": "integer",
    "a list": "array",
    "a table": "object",
    "text": "string",
}


#: Where the table of a new node is, in messages of the graph.
_PLACE: Final = "blockdev."


class ControlError(AsyncemuError):
    """A command can't be done; ``str`` is QEMU's description, one line."""


class NoSuchDevice(ControlError):
    """No device has the name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Device '{name}' not found")


def explained(error: BaseException) -> ControlError:
    """``error`` of the block layer as a command's answer."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, ControlError) else ControlError(_words(error))


def _words(error: BaseException) -> str:
    match error:
        case OptionError():
            return _of_option(error)
        case UnknownPlugin(kind="blockdev"):
            return f"Parameter 'driver' does not accept value '{error.name}'"
        case ConfigError():
            return _of_config_error(error)
        case OSError() if error.errno is not None:
            return os.strerror(error.errno)
        case _:
            return str(error)


def _of_config_error(error: ConfigError) -> str:
    inner = error.__cause__ or error.__context__
    if isinstance(inner, (ConfigError, OSError, HostError)) and error.problem in (
        str(inner),
        getattr(inner, "problem", None),
    ):
        # Raised again by the graph, with a longer place.
        return _words(inner)
    return error.problem


def _of_option(error: OptionError) -> str:
    """QEMU: qobject-input-visitor.c, which looks at all of a command's arguments before anything is done."""
    # Of nested tables, too.
    name = error.where.removeprefix(_PLACE) if error.where.startswith(_PLACE) else error.option
    match error.flaw:
        case "unknown":
            return f"Parameter '{name}' is unexpected"
        case "missing":
            return f"Parameter '{name}' is missing"
        case "choice":
            return f"Parameter '{name.rpartition('.')[2]}' does not accept value '{error.value}'"
        case "value" if error.expected in _QAPI_TYPES:
            return f"Invalid parameter type for '{name}', expected: {_QAPI_TYPES[error.expected]}"
        case _:
            return error.problem
