# SPDX-License-Identifier: GPL-2.0-or-later
"""What pydantic finds wrong with a table, as ConfigErrors: TOML path, problem in users' words, nearest known key."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from asyncemu.errors import ConfigError
from asyncemu.plain_options import AnyOptions
from asyncemu.plain_options_pydantic import model_of
from asyncemu.spelling import nearest, shown, toml_path

#: What a value must be, by pydantic's names for the ways in which it is not.
_EXPECTED: Final = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a table",
    "path_type": "a path, as text",
    "string_type": "text",
    "string_unicode": "text in UTF-8",
}


def explain(
    findings: Sequence[Mapping[str, Any]], model: type[BaseModel], where: str, other_keys: Sequence[str] = ()
) -> Iterator[ConfigError]:
    """A line for each of pydantic's findings; the alternatives of a union have one together.

    ``findings`` are of a table at ``where``; ``other_keys`` it may have besides those of ``model``.
    """
    alternatives: dict[str, list[str]] = {}
    for finding in findings:
        loc, in_union = _toml_loc(finding["loc"], model)
        path = toml_path(where, *loc)
        if in_union and finding["type"] in _EXPECTED:
            expected = alternatives.setdefault(path, [])
            expected.append(_EXPECTED[finding["type"]])
            continue
        yield _explain_one(finding, model, loc, path, other_keys)
    for path, expected in alternatives.items():
        yield ConfigError(path, f"must be {' or '.join(expected)}")


def _toml_loc(loc: tuple[int | str, ...], model: type[BaseModel]) -> tuple[tuple[int | str, ...], bool]:
    """``loc`` without pydantic's names for the alternatives of a union; whether it had one."""
    current: type[BaseModel] | None = model
    for depth, part in enumerate(loc):
        if isinstance(part, int):
            continue
        if current is None:
            return loc[:depth], True
        field = _field(current, part)
        current = _model_in(field.annotation) if field is not None else current
    return loc, False


def _explain_one(
    finding: Mapping[str, Any],
    model: type[BaseModel],
    loc: tuple[int | str, ...],
    path: str,
    other_keys: Sequence[str],
) -> ConfigError:
    context = finding.get("ctx", {})
    given = shown(finding["input"])
    match finding["type"]:
        case "extra_forbidden":
            known = [*_keys_at(model, loc[:-1]), *(other_keys if len(loc) == 1 else ())]
            return ConfigError(path, "unknown key", nearest(str(loc[-1]), known))
        case "missing":
            return ConfigError(path, "is missing")
        case "value_error":
            problem, _, remedy = str(context["error"]).partition("; ")
            # What begins with a verb is said of the value.
            subject = f"{given} " if problem.startswith("is not ") else ""
            return ConfigError(path, subject + problem, remedy)
        case "literal_error":
            known = [str(value) for value in _literals(model, loc)]
            return ConfigError(path, f"{given} is not one of its values", nearest(given.strip("'"), known))
        case "greater_than_equal" | "less_than_equal" as kind:
            bound = context["ge"] if kind == "greater_than_equal" else context["le"]
            return ConfigError(path, f"must be at {'least' if 'ge' in context else 'most'} {bound}, not {given}")
        case "string_too_long" | "too_long":
            unit = "characters" if finding["type"] == "string_too_long" else "entries"
            return ConfigError(path, f"has {len(finding['input'])} {unit}, at most {context['max_length']}")
        case "string_too_short" | "too_short":
            unit = "characters" if finding["type"] == "string_too_short" else "entries"
            return ConfigError(path, f"has {len(finding['input'])} {unit}, at least {context['min_length']}")
        case kind if kind in _EXPECTED:
            return ConfigError(path, f"must be {_EXPECTED[kind]}, not {given}")
        case _:
            message = finding["msg"]
            return ConfigError(path, f"{message[0].lower()}{message[1:]}, not {given}")


def _field(model: type[BaseModel], key: str) -> FieldInfo | None:
    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            return field
    return None


def _literals(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[Any]:
    """The values that the field at ``loc`` may have."""
    found: list[Any] = []
    for part in loc:
        field = _field(model, part) if isinstance(part, str) else None
        if field is None:
            continue
        found = _literals_in(field.annotation)
        model = _model_in(field.annotation) or model
    return found


def _literals_in(annotation: Any) -> list[Any]:
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [value for inner in typing.get_args(annotation) for value in _literals_in(inner)]


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the table at ``loc`` below ``model`` may have."""
    for part in loc:
        field = _field(model, part) if isinstance(part, str) else None
        if field is not None:
            model = _model_in(field.annotation) or model
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, AnyOptions):
        return model_of(annotation)
    for argument in typing.get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None
