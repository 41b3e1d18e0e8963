# SPDX-License-Identifier: GPL-2.0-or-later
"""query-qmp-schema: what commands take and give and what events carry, from the types that check and make them.

The form is QAPI's (QEMU: qapi/introspect.json): one flat list of entities; types other than the built-in ones have
numbers for names, which mean nothing.

    WireModel, options of a plug-in     object; a member that may be absent has a default of null
    PluginArguments, tagged union       object with a tag and a variant for each of its values
    Literal, Enum                       enum
    list                                array
    str | WireModel, ...                alternate
    Any, dict                           any
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from asyncemu.events import Event
from asyncemu.monitor.command import Command
from asyncemu.monitor.plugin_arguments import PluginArguments
from asyncemu.plain_options import AnyOptions
from asyncemu.plain_options_pydantic import model_of

Entity = dict[str, Any]

#: Python's types by QAPI's names, with the JSON types.
_BUILTIN: Final[dict[str, tuple[tuple[type, ...], str]]] = {
    "bool": ((bool,), "boolean"),
    "int": ((int,), "int"),
    "number": ((float,), "number"),
    "str": ((str, Path, UUID), "string"),
    "null": ((type(None),), "null"),
    "any": ((), "value"),
}
#: The type of no arguments, and of no result.
EMPTY: Final = "0"


def build(commands: Iterable[Command], events: Iterable[type[Event]]) -> list[Entity]:
    """All entities. Needs all plug-ins imported whose options are to be in it."""
    types_ = _Types()
    heads: list[Entity] = []
    for command in commands:
        arguments = types_.of(command.arguments) if command.arguments is not None else EMPTY
        result = EMPTY if command.result in (None, type(None)) else types_.of(command.result)
        entity = {"name": command.name, "meta-type": "command", "arg-type": arguments, "ret-type": result}
        heads.append({**entity, "allow-oob": True} if command.allow_oob else entity)
    for event in events:
        arguments = types_.of(event) if event.model_fields else EMPTY
        heads.append({"name": event.wire_name, "meta-type": "event", "arg-type": arguments})
    builtin = [{"name": name, "meta-type": "builtin", "json-type": json} for name, (_, json) in _BUILTIN.items()]
    return [*heads, *types_.entities.values(), *builtin]


class _Types:
    """Entities by their names, each type once."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {EMPTY: {"name": EMPTY, "meta-type": "object", "members": []}}
        self._names: dict[object, str] = {}

    def of(self, annotation: Any, discriminator: object = None, nested: Any = None) -> str:
        """The name of a type. ``nested``: what a table inside of a plug-in's options is, if that is known."""
        for name, (python, _) in _BUILTIN.items():
            if annotation in python:
                return name
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            tag = next((each.discriminator for each in arguments[1:] if isinstance(each, FieldInfo)), None)
            return self.of(arguments[0], tag or discriminator, nested)
        if origin is typing.Literal:
            return self._enum(tuple(str(each) for each in arguments))
        if origin in (typing.Union, types.UnionType):
            return self._union([each for each in arguments if each is not type(None)], arguments, discriminator, nested)
        if origin in (list, tuple, Sequence):
            element = self.of(arguments[0] if arguments else Any, None, nested)
            entity = {"name": f"[{element}]", "meta-type": "array", "element-type": element}
            self.entities[f"[{element}]"] = entity
            return f"[{element}]"
        if nested is not None and origin in (dict, Mapping):
            return self.of(nested)
        return self._class(annotation, nested) if isinstance(annotation, type) else "any"

    def _class(self, annotation: type, nested: Any) -> str:
        if issubclass(annotation, PluginArguments):
            return self._define(annotation, lambda: self._plugin_union(annotation))
        if issubclass(annotation, AnyOptions):
            return self._define(annotation, lambda: self._object(model_of(annotation), nested))
        if issubclass(annotation, BaseModel):
            return self._define(annotation, lambda: self._object(annotation, nested))
        if issubclass(annotation, enum.Enum):
            return self._enum(tuple(str(each.value) for each in annotation))
        # A subclass of a number or of text is one on the wire.
        known = (name for name, (python, _) in _BUILTIN.items() if python and issubclass(annotation, python))
        return next(known, "any")

    def _define(self, key: object, body: Callable[[], Entity]) -> str:
        """A name for what ``key`` stands for, which may contain itself."""
        if key not in self._names:
            name = self._names[key] = str(len(self._names) + 1)
            self.entities[name] = {"name": name}
            self.entities[name].update(body())
        return self._names[key]

    def _enum(self, values: tuple[str, ...]) -> str:
        members = [{"name": value} for value in values]
        return self._define(values, lambda: {"meta-type": "enum", "members": members, "values": list(values)})

    def _object(self, model: type[BaseModel], nested: Any = None, without: Sequence[str] = ()) -> Entity:
        fields = [(field.alias or name, field) for name, field in model.model_fields.items()]
        members = [self._member(name, field, nested) for name, field in fields if name not in without]
        return {"meta-type": "object", "members": members}

    def _member(self, name: str, field: FieldInfo, nested: Any) -> Entity:
        member: Entity = {"name": name, "type": self.of(field.annotation, field.discriminator, nested)}
        return member if field.is_required() else {**member, "default": None}

    def _union(self, members: list[Any], key: tuple[Any, ...], discriminator: object, nested: Any) -> str:
        if len(members) == 1:
            return self.of(members[0], discriminator, nested)
        if isinstance(discriminator, str):
            return self._define((key, discriminator), lambda: self._tagged_union(members, discriminator))
        names = list(dict.fromkeys(self.of(each, None, nested) for each in members))
        if len(names) == 1:
            return names[0]
        return self._define(
            tuple(names), lambda: {"meta-type": "alternate", "members": [{"type": name} for name in names]}
        )

    def _tagged_union(self, members: list[type[BaseModel]], discriminator: str) -> Entity:
        tag = members[0].model_fields[discriminator].alias or discriminator
        variants: list[Entity] = []
        for member in members:
            name = self._define((member, tag), lambda member=member: self._object(member, None, (tag,)))  # type: ignore[misc]
            for case in typing.get_args(member.model_fields[discriminator].annotation):
                variants.append({"case": case, "type": name})
        cases = tuple(variant["case"] for variant in variants)
        common = [{"name": tag, "type": self._enum(cases)}]
        return {"meta-type": "object", "members": common, "tag": tag, "variants": variants}

    def _plugin_union(self, arguments: type[PluginArguments]) -> Entity:
        options = arguments.variants()
        entity = self._object(arguments)
        for member in entity["members"]:
            if member["name"] == arguments.tag:
                member["type"] = self._enum(tuple(options))
        own = [member["name"] for member in entity["members"]]
        variants = [
            {"case": case, "type": self._variant(arguments, options_type, own)}
            for case, options_type in options.items()
        ]
        return {**entity, "tag": arguments.tag, "variants": variants}

    def _variant(self, arguments: type[PluginArguments], options: type[AnyOptions], own: list[str]) -> str:
        # A table inside of a block node's options is a node, too.
        return self._define((options, arguments), lambda: self._object(model_of(options), arguments, own))
