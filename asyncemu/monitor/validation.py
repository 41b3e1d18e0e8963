# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a command's arguments, in QEMU's words."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from asyncemu.monitor.errors import QmpError


def unexpected(names: Iterable[str]) -> QmpError:
    """Members that nobody asked for."""
    return QmpError(f"Parameter '{next(iter(names))}' is unexpected")


def arguments_error(error: ValidationError) -> QmpError:
    """The first fault."""
    fault = error.errors(include_url=False)[0]
    path = ".".join(str(each) for each in fault["loc"])
    match fault["type"]:
        case "missing":
            return QmpError(f"Parameter '{path}' is missing")
        case "extra_forbidden":
            return QmpError(f"Parameter '{path}' is unexpected")
        case "literal_error":
            return QmpError(f"Parameter '{path}' does not accept value '{fault['input']}'")
    expected = {
        "string_type": "string",
        "int_type": "integer",
        "bool_type": "boolean",
        "float_type": "number",
        "list_type": "array",
        "model_type": "object",
    }.get(fault["type"])
    if expected is not None:
        return QmpError(f"Invalid parameter type for '{path}', expected: {expected}")
    return QmpError(f"Parameter '{path}': {fault['msg']}")
