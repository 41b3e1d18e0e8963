# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with a command's arguments, in QEMU's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from asyncemu.monitor.errors import QmpError
from asyncemu.spelling import MAX_SHOWN


def unexpected(names: Iterable[str]) -> QmpError:
    """Members that nobody asked for."""
    return QmpError(f"Parameter '{next(iter(names))}' is unexpected")


def arguments_error(error: ValidationError, given: Mapping[str, Any] | None = None) -> QmpError:
    """The first fault. ``given``: the arguments, which tell pydantic's names of a union's variants from members."""
    fault = error.errors(include_url=False)[0]
    names = _members(fault["loc"], given)
    path = ".".join(names)
    match fault["type"]:
        case "missing":
            return QmpError(f"Parameter '{path}' is missing")
        case "union_tag_not_found":
            return QmpError(f"Parameter '{'.'.join([*names, _tag(fault)])}' is missing")
        case "union_tag_invalid":
            return QmpError(f"Parameter '{_tag(fault)}' does not accept value '{fault['ctx']['tag']}'")
        case "extra_forbidden":
            return QmpError(f"Parameter '{path}' is unexpected")
        case "literal_error" if isinstance(fault["input"], str):
            # As QEMU has it: the member alone.
            return QmpError(f"Parameter '{names[-1]}' does not accept value '{fault['input'][:MAX_SHOWN]}'")
        case "value_error":
            problem = str(fault["ctx"]["error"])
            return QmpError(f"Parameter '{path}': {problem}" if path else problem)
    expected = _EXPECTED.get(fault["type"])
    if expected is not None:
        return QmpError(f"Invalid parameter type for '{path}', expected: {expected}")
    return QmpError(f"Parameter '{path}': {fault['msg']}")


#: QAPI's names of types, by pydantic's of what a value is not.
_EXPECTED: Final = {
    "string_type": "string",
    "literal_error": "string",
    "path_type": "string",
    "int_type": "integer",
    "int_parsing": "integer",
    "int_from_float": "integer",
    "bool_type": "boolean",
    "bool_parsing": "boolean",
    "float_type": "number",
    "float_parsing": "number",
    "list_type": "array",
    "dict_type": "object",
    "model_type": "object",
    "model_attributes_type": "object",
}


def _members(loc: Sequence[int | str], given: Any) -> list[str]:
    names: list[str] = []
    for part in loc:
        is_member = not isinstance(given, Mapping) or part in given or part is loc[-1]
        if is_member:
            if isinstance(part, int) and names:
                names[-1] += f"[{part}]"
            else:
                names.append(str(part))
            given = given.get(part) if isinstance(given, Mapping) else _entry(given, part)
    return names


def _entry(given: Any, part: int | str) -> Any:
    return given[part] if isinstance(given, list) and isinstance(part, int) and part < len(given) else None


def _tag(fault: Mapping[str, Any]) -> str:
    """The member that tells a union's variants apart."""
    return str(fault["ctx"]["discriminator"]).strip("'")
