# SPDX-License-Identifier: GPL-2.0-or-later
"""What a reader wants to know about a plug-in: one line, and its options with type, default and help."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from annotated_types import Ge, Le, MaxLen
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from asyncemu.host_file import NameOfFile
from asyncemu.plain_options import AnyOptions
from asyncemu.plain_options_pydantic import model_of
from asyncemu.plugins import Plugin, Reference
from asyncemu.size import SizeInBytes, size_text


@dataclass(frozen=True, slots=True)
class OptionHelp:
    """One option; all are texts to be shown. ``key`` is dotted for a key in a table (``cache.direct``)."""

    key: str
    type: str
    default: str
    help: str


def one_line(plugin: type[Plugin[Any]]) -> str:
    """What the plug-in is: its ``description``, else the first line of its docstring."""
    return plugin.description or first_line(plugin.__dict__.get("__doc__"))


def first_line(docstring: str | None) -> str:
    """The first line of a docstring, or nothing."""
    return (inspect.cleandoc(docstring or "").splitlines() or [""])[0]


def option_helps(options_type: type[AnyOptions], prefix: str = "") -> Iterator[OptionHelp]:
    """The options of a class, in the order of definition; those of inner tables follow theirs."""
    for name, field in model_of(options_type).model_fields.items():
        key = prefix + (field.alias or name)
        yield OptionHelp(
            key, _type_text(field.annotation, field.metadata), _default_text(field), field.description or ""
        )
        inner = _inner_options(field.annotation)
        if inner is not None:
            many = typing.get_origin(field.annotation) is list
            yield from option_helps(inner, f"{key}[]." if many else f"{key}.")


def _type_text(annotation: Any, metadata: list[Any]) -> str:
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        inner, *inner_metadata = typing.get_args(annotation)
        return _type_text(inner, [*inner_metadata, *metadata])
    if origin in (typing.Union, types.UnionType):
        choices = [_type_text(each, metadata) for each in typing.get_args(annotation) if each is not type(None)]
        return " or ".join(dict.fromkeys(choices))
    if origin is typing.Literal:
        return " or ".join(str(value) for value in typing.get_args(annotation))
    if origin is list:
        return f"list of {_type_text(typing.get_args(annotation)[0], [])}"
    reference = next((each for each in metadata if isinstance(each, Reference)), None)
    if reference is not None:
        article = "an" if reference.kind[0] in "aeiou" else "a"
        return f"{'node-name' if reference.kind == 'blockdev' else 'id'} of {article} {reference.kind}"
    if any(isinstance(each, SizeInBytes) for each in _flat(metadata)):
        return "size"
    if any(isinstance(each, NameOfFile) for each in _flat(metadata)):
        return "path"
    if annotation is dict or origin is dict or _inner_options(annotation) is annotation:
        return "table"
    return _plain_type_text(annotation, _flat(metadata))


def _plain_type_text(annotation: Any, metadata: list[Any]) -> str:
    if annotation is str:
        longest = next((each.max_length for each in metadata if isinstance(each, MaxLen)), None)
        return "text" if longest is None else f"text, {longest} characters at most"
    names: dict[Any, str] = {bool: "true or false", int: "number", float: "number"}
    text = names.get(annotation, getattr(annotation, "__name__", str(annotation)))
    low = next((each.ge for each in metadata if isinstance(each, Ge)), None)
    high = next((each.le for each in metadata if isinstance(each, Le)), None)
    if low is not None and high is not None:
        return f"{text}, {low} to {high}"
    return text if low is None else f"{text}, {low} or more"


def _flat(metadata: list[Any]) -> list[Any]:
    """Metadata with what a Field among them brings along."""
    found: list[Any] = []
    for each in metadata:
        found += each.metadata if isinstance(each, FieldInfo) else [each]
    return found


def _default_text(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    match default:
        case _ if default is PydanticUndefined:
            return "required"
        case None | AnyOptions() | "" | []:
            return ""
        case bool():
            return str(default).lower()
        case list():
            return ", ".join(str(each) for each in default)
        case int() if _type_text(field.annotation, field.metadata) == "size":
            return size_text(default)
        case _:
            return str(default)


def _inner_options(annotation: Any) -> type[AnyOptions] | None:
    if isinstance(annotation, type) and issubclass(annotation, AnyOptions):
        return annotation
    return next((found for each in typing.get_args(annotation) if (found := _inner_options(each)) is not None), None)
