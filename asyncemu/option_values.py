# SPDX-License-Identifier: GPL-2.0-or-later
"""From what a user wrote to the value of an option, by the option's annotation; see PlainOptions.

A file has types, a command line has text only: a text that spells a number or a truth value is taken for one, as in
QEMU's keyval syntax. Of several types, the one that the value has already is preferred.
"""

from __future__ import annotations

import math
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, Union, runtime_checkable

from asyncemu.errors import ConfigError
from asyncemu.spelling import nearest, shown, toml_path

if TYPE_CHECKING:
    from pathlib import Path

_TRUE: Final = frozenset({"on", "true", "yes", "y", "t", "1"})
_FALSE: Final = frozenset({"off", "false", "no", "n", "f", "0"})

#: As C's strtol with base 0: hexadecimal, octal and decimal. More digits than any bound of ours has are refused unread.
_integer: Final = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]{1,40})|0([0-7]{1,40})|([0-9]{1,40}))", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written."""

    #: The TOML path, for messages.
    where: str
    #: What relative file names are relative to; None: the current directory, and nothing is expanded.
    directory: Path | None

    def inside(self, part: int | str) -> Place:
        """The place of an entry."""
        return Place(toml_path(self.where, part), self.directory)


class Mismatch(Exception):
    """The value is of another type than ``expected``, which is a text: "a whole number"."""

    def __init__(self, expected: str) -> None:
        self.expected = expected
        super().__init__(expected)


#: Makes the option's value of what a user wrote. Raises Mismatch, ConfigError, or ValueError("is not a size; remedy").
Converter = Callable[[object, Place], object]


@runtime_checkable
class Convertible(Protocol):
    """What an annotation may carry to say how its values are written: ``Annotated[int, SizeInBytes()]``."""

    def convert(self, value: object, directory: Path | None) -> object:
        """Raises ValueError("is not a size; write 512K"): the problem, and the remedy where there is one."""


def converted(converter: Converter, value: object, place: Place) -> object:
    """``converter``'s result. Raises ConfigError, whatever is wrong."""
    try:
        return converter(value, place)
    except Mismatch as mismatch:
        raise ConfigError(place.where, f"must be {mismatch.expected}, not {shown(value)}") from None
    except ValueError as error:
        problem, _, remedy = str(error).partition("; ")
        # What begins with a verb is said of the value.
        subject = f"{shown(value)} " if problem.startswith("is not ") else ""
        raise ConfigError(place.where, subject + problem, remedy) from None


def converter_of(annotation: Any) -> Converter:
    """How values of a resolved ``annotation`` are made. TypeError for a type that no option can have."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        marker = next((each for each in arguments[1:] if isinstance(each, Convertible)), None)
        if marker is None:
            return converter_of(arguments[0])
        convert = marker.convert
        return lambda value, place: convert(value, place.directory)
    if origin in (Union, types.UnionType):
        return _one_of(arguments)
    if origin is Literal:
        return _literal(arguments)
    if origin in (list, tuple):
        return _list(origin, converter_of(arguments[0]))
    if annotation is dict or origin is dict:
        return _table
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if isinstance(annotation, type) and hasattr(annotation, "parse"):
        return _nested(annotation)
    raise TypeError(f"an option can't be of type {annotation!r}")


def check_bounds(value: Any, bounds: Mapping[str, Any], where: str) -> None:
    """Raises ConfigError when a converted ``value`` breaks one of ``ge``, ``le``, ``min_length``, ``max_length``."""
    for name, bound in bounds.items():
        match name:
            case "ge" if value < bound:
                raise ConfigError(where, f"must be at least {bound}, not {shown(value)}")
            case "le" if value > bound:
                raise ConfigError(where, f"must be at most {bound}, not {shown(value)}")
            case "min_length" if len(value) < bound:
                raise ConfigError(where, f"has {len(value)} {_unit(value)}, at least {bound}")
            case "max_length" if len(value) > bound:
                raise ConfigError(where, f"has {len(value)} {_unit(value)}, at most {bound}")


def _unit(value: object) -> str:
    return "characters" if isinstance(value, str) else "entries"


# ---- one value


def _bool(value: object, place: Place) -> bool:
    if isinstance(value, bool):
        return value
    text = value.lower() if isinstance(value, str) else value
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise Mismatch("true or false")


def _int(value: object, place: Place) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    found = _integer.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise Mismatch("a whole number")
    sign, hexadecimal, octal, decimal = found.groups()
    number = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    return -number if sign == "-" else number


def _float(value: object, place: Place) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Mismatch("a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise Mismatch("a number") from None
    if not math.isfinite(number):
        raise Mismatch("a finite number")
    return number


def _str(value: object, place: Place) -> str:
    if not isinstance(value, str):
        raise Mismatch("text")
    return value


def _table(value: object, place: Place) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise Mismatch("a table")
    return dict(value)


def _none(value: object, place: Place) -> None:
    if value is not None:
        raise Mismatch("nothing")


def _anything(value: object, place: Place) -> object:
    return value


_SCALARS: Final[dict[Any, Converter]] = {
    bool: _bool,
    int: _int,
    float: _float,
    str: _str,
    type(None): _none,
    Any: _anything,
    object: _anything,
}


# ---- of several


def _nested(options_type: Any) -> Converter:
    def convert(value: object, place: Place) -> object:
        if isinstance(value, options_type):
            return value
        return options_type.parse(_table(value, place), place.where, place.directory)

    return convert


def _literal(values: Sequence[object]) -> Converter:
    def convert(value: object, place: Place) -> object:
        for each in values:
            if (type(value) is type(each) and value == each) or (isinstance(value, str) and value == str(each)):
                return each
        remedy = nearest(str(value)[:60], [str(each) for each in values])
        raise ConfigError(place.where, f"{shown(value)} is not one of its values", remedy)

    return convert


def _list(container: Callable[[list[object]], object], entry: Converter) -> Converter:
    def convert(value: object, place: Place) -> object:
        if not isinstance(value, (list, tuple)):
            raise Mismatch("a list")
        return container([converted(entry, each, place.inside(index)) for index, each in enumerate(value)])

    return convert


def _one_of(annotations: Sequence[Any]) -> Converter:
    # Nothing can be written where a file has no word for it: it is no alternative that a message names.
    alternatives = [(each, converter_of(each)) for each in annotations if each is not type(None)]
    optional = len(alternatives) < len(annotations)

    def convert(value: object, place: Place) -> object:
        if value is None and optional:
            return None
        expected = []
        # Stable: the alternative that needs no conversion comes first, then the order of definition.
        for _, converter in sorted(alternatives, key=lambda alternative: alternative[0] is not type(value)):
            try:
                return converter(value, place)
            except Mismatch as mismatch:
                expected.append(mismatch.expected)
        raise Mismatch(" or ".join(expected))

    return convert
