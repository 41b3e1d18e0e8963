# SPDX-License-Identifier: GPL-2.0-or-later
"""PlainOptions: typed options, checked without pydantic, whose import takes longer than a tool may take to start.

    class RawOptions(PlainOptions):
        '''Keys of the ``raw`` driver.'''

        offset: Size = option(default=0, description="Where the window begins.")
        size: Size | None = option(default=None, description="Length of the window.")

    RawOptions(offset=512)                                  # checks nothing: the code's own types do
    RawOptions.parse({"offset": "1M"}, "blockdev[0]")       # checks and converts what a user wrote

``parse`` stops at the first thing that is wrong. For a vm.toml, where all that is wrong comes at once, and for help and
JSON schema there is a pydantic model of each class (plain_options_pydantic.py).

A field may be bool, int, float, str, Literal, Size, HostPath, HostFile, another class of PlainOptions, list, tuple,
dict[str, Any], and ``|`` of these.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, dataclass_transform, overload

from asyncemu.option_values import Converter, OptionError, Place, check_bounds, converted, converter_of
from asyncemu.spelling import nearest, toml_name

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

ValueT = TypeVar("ValueT")

#: The default of an option that has none.
REQUIRED: Final = object()


class AnyOptions:
    """Base of both kinds of options: PlainOptions here, and the pydantic models of asyncemu.options."""


class OptionField:
    """What ``option`` says about one field."""

    __slots__ = ("bounds", "default", "description", "key")

    def __init__(self, default: object, description: str = "", **bounds: int | float | None) -> None:
        self.default = default
        self.description = description
        #: Those of ``ge``, ``le``, ``min_length`` and ``max_length`` that are given.
        self.bounds = {name: bound for name, bound in bounds.items() if bound is not None}
        #: Its name in a file.
        self.key = ""

    def default_value(self) -> object:
        """A default of its own for each instance."""
        return self.default.copy() if isinstance(self.default, (list, dict)) else self.default


@overload
def option(
    *,
    default: ValueT,
    description: str = ...,
    ge: float | None = ...,
    le: float | None = ...,
    min_length: int | None = ...,
    max_length: int | None = ...,
) -> ValueT: ...


@overload
def option(
    *,
    description: str = ...,
    ge: float | None = ...,
    le: float | None = ...,
    min_length: int | None = ...,
    max_length: int | None = ...,
) -> Any: ...


def option(
    *,
    default: Any = REQUIRED,
    description: str = "",
    ge: float | None = None,
    le: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
) -> Any:
    """A field of PlainOptions. Without ``default`` it must be given.

    ``ge`` and ``le`` are the least and the largest number, ``min_length`` and ``max_length`` the same for the length of
    a text or list.
    """
    return OptionField(default, description, ge=ge, le=le, min_length=min_length, max_length=max_length)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
class PlainOptions(AnyOptions):
    """The keys that something takes; a field ``read_only`` is the key ``read-only``. Unknown keys are errors."""

    fields: ClassVar[Mapping[str, OptionField]] = {}
    _converters: ClassVar[dict[str, Converter]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        # Of all bases, the last first, so that a class's own fields come behind the inherited ones.
        fields: dict[str, OptionField] = {}
        for base in reversed(cls.__mro__[1:]):
            fields |= base.__dict__.get("fields", {})
        for name, annotation in vars(cls).get("__annotations__", {}).items():
            if name.startswith("_") or "ClassVar" in str(annotation):
                continue
            given = cls.__dict__.get(name, REQUIRED)
            fields[name] = given if isinstance(given, OptionField) else OptionField(given)
            fields[name].key = toml_name(name)
            if name in cls.__dict__:
                delattr(cls, name)
        cls.fields = fields
        cls._converters = {}

    def __init__(self, **values: Any) -> None:
        """Values by the names of fields, unchecked; defaults for the rest. TypeError for wrong or missing names."""
        fields = self.fields
        unknown = values.keys() - fields.keys()
        missing = [name for name, field in fields.items() if field.default is REQUIRED and name not in values]
        if unknown or missing:
            raise TypeError(f"{type(self).__name__}: unknown {sorted(unknown)}, missing {missing}")
        for name, field in fields.items():
            self.__dict__[name] = values[name] if name in values else field.default_value()
        self.__dict__["_given"] = frozenset(values)

    @classmethod
    def parse(
        cls,
        table: Mapping[str, object],
        where: str,
        directory: Path | None = None,
        other_keys: Sequence[str] = (),
    ) -> Self:
        """The options in ``table``, as a file or a command line has them. Raises ConfigError with what is wrong first.

        ``where`` is the table's TOML path. ``directory`` is what relative file names are relative to. ``other_keys`` of
        the table were taken out of it: they may be what an unknown key was meant to be.
        """
        return cls.parse_at(table, Place(where, directory), other_keys)

    @classmethod
    def parse_at(cls, table: Mapping[str, object], place: Place, other_keys: Sequence[str] = ()) -> Self:
        """``parse`` of a table that may be inside of other options."""
        values: dict[str, object] = {}
        written: dict[str, object] = {}
        names = {field.key: name for name, field in cls.fields.items()}
        for key, value in table.items():
            name = names.get(key, key)
            inside = place.inside(key)
            if name not in cls.fields:
                remedy = nearest(key, sorted([*names, *other_keys]))
                raise OptionError(inside, "unknown", "unknown key", remedy, value=value)
            if name in values:
                raise OptionError(inside, "twice", "is given twice")
            values[name] = converted(cls._converter(name), value, inside)
            # A file's name is part of what a node is called: the one by which it is opened.
            written[key] = values[name] if place.directory is not None and isinstance(value, str) else value
            if values[name] is not None:
                check_bounds(values[name], cls.fields[name].bounds, inside)
        for name, field in cls.fields.items():
            if field.default is REQUIRED and name not in values:
                raise OptionError(place.inside(field.key), "missing", "is missing")
        options = cls(**values)
        options.__dict__["_written"] = written
        return options

    @classmethod
    def annotations(cls) -> dict[str, Any]:
        """The resolved annotation of each field, in order."""
        hints = typing.get_type_hints(cls, include_extras=True)
        return {name: hints[name] for name in cls.fields}

    def is_given(self, name: str) -> bool:
        """Was the field ``name`` given a value, be it that of its default?"""
        return name in self.__dict__["_given"]

    def given(self) -> dict[str, Any]:
        """What differs from its default, by the keys of files; options within these are dictionaries, too."""
        found: dict[str, Any] = {}
        for name, field in self.fields.items():
            value = getattr(self, name)
            if value != field.default:
                found[field.key] = _as_table(value)
        return found

    def written(self) -> Mapping[str, Any]:
        """What ``parse`` was given, as it was spelt; ``given()`` of options that code has made."""
        found: Mapping[str, Any] | None = self.__dict__.get("_written")
        return self.given() if found is None else found

    def replaced(self, **changes: Any) -> Self:
        """A copy in which the fields ``changes`` have other values."""
        return type(self)(**{name: getattr(self, name) for name in self.__dict__["_given"]} | changes)

    @classmethod
    def _converter(cls, name: str) -> Converter:
        # Made when it is needed: an annotation may name what is defined below the class, and to resolve those of all
        # fields takes the tools, which give a few values, milliseconds.
        converter = cls._converters.get(name)
        if converter is None:
            converter = cls._converters[name] = converter_of(cls._annotation(name))
        return converter

    @classmethod
    def _annotation(cls, name: str) -> Any:
        """The resolved annotation of one field."""
        owner = next(base for base in cls.__mro__ if name in vars(base).get("__annotations__", {}))
        bearer = SimpleNamespace(__annotations__={name: owner.__annotations__[name]})
        names = vars(sys.modules[owner.__module__]), dict(vars(owner))
        return typing.get_type_hints(bearer, *names, include_extras=True)[name]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """What pydantic asks for when a model of its own has a field of this class."""
        from asyncemu.plain_options_pydantic import core_schema_of

        return core_schema_of(cls, handler)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} does not change; see replaced()")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} does not change")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.fields)

    def __hash__(self) -> int:
        # Values may be lists and tables, which have no hash; equal options have equal classes.
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.fields)})"


def _as_table(value: object) -> object:
    match value:
        case PlainOptions():
            return value.given()
        case list() | tuple():
            return [_as_table(each) for each in value]
        case _:
            return value
