# SPDX-License-Identifier: GPL-2.0-or-later
"""Properties from classes of options: what vm.toml may say of an object is what may be asked of it."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from asyncemu.monitor.qom.node import Json, Property
from asyncemu.plain_options import AnyOptions, PlainOptions
from asyncemu.plain_options_pydantic import model_of
from asyncemu.plugins import Reference
from asyncemu.size import SizeInBytes


class Described(NamedTuple):
    """A property of a type."""

    name: str
    type: str
    description: str
    #: None: it has none.
    default: Json


def described(options_type: type[AnyOptions]) -> Iterator[Described]:
    """The properties that objects with these options have."""
    for field_name, field in model_of(options_type).model_fields.items():
        default = None if field.is_required() else as_json(field.get_default(call_default_factory=True))
        yield Described(field.alias or field_name, type_name(field), field.description or "", default)


def properties(options: AnyOptions, refusal: str) -> Iterator[Property]:
    """Those of one object, none of which can be set; ``refusal`` says why, with {name} in it."""
    for field_name, field in model_of(type(options)).model_fields.items():
        name = field.alias or field_name
        value = as_json(getattr(options, field_name))
        if _link(field) == "iothread":
            value = f"/objects/{value}" if value else ""
        yield Property(name, type_name(field), value, refusal=refusal.format(name=name))


def type_name(field: FieldInfo) -> str:
    """QEMU's name of the type of a field's values."""
    link = _link(field)
    if link == "iothread":
        return "link<iothread>"
    if any(isinstance(each, SizeInBytes) for each in field.metadata):
        return "size"
    kinds = _kinds(field.annotation)
    for kind, name in ((bool, "bool"), (int, "int"), (float, "number"), (str, "str")):
        if kinds <= {kind}:
            return name
    return "any" if any(issubclass(kind, (BaseModel, PlainOptions, list, dict, tuple)) for kind in kinds) else "str"


def as_json(value: Any) -> Json:
    """``value`` of an option as JSON has it; an option that is not given is the empty text, as in QEMU."""
    match value:
        case None:
            return ""
        case BaseModel():
            return value.model_dump(mode="json", by_alias=True, exclude_none=True)
        case PlainOptions():
            return as_json(value.given())
        case enum.Enum():
            return as_json(value.value)
        case Path() | UUID():
            return str(value)
        case Mapping():
            return {str(key): as_json(each) for key, each in value.items()}
        case list() | tuple():
            return [as_json(each) for each in value]
        case bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def _link(field: FieldInfo) -> str:
    """The table that the option names an entry of; empty: none."""
    return next((each.kind for each in field.metadata if isinstance(each, Reference)), "")


def _kinds(annotation: Any) -> set[type]:
    """The classes that a value may be of."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_kinds(each) for each in typing.get_args(annotation))) - {type(None)}
    if origin is typing.Annotated:
        return _kinds(typing.get_args(annotation)[0])
    if origin is typing.Literal:
        return {type(each) for each in typing.get_args(annotation)}
    if isinstance(origin, type):
        return {origin}
    return {annotation} if isinstance(annotation, type) else {object}
