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
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, Union, runtime_checkable

from asyncemu.errors import ConfigError
from asyncemu.spelling import nearest, shown, toml_path

if TYPE_CHECKING:
    from pathlib import Path

_TRUE: Final = frozenset({"on", "true", "yes", "y", "t", "1"})
_FALSE: Final = frozenset({"off", "false", "no", "n", "f", "0"})

#: As C's strtol with base 0: hexadecimal, octal and decimal. More digits than any bound of ours has are refused unread.
_INTEGER: Final = r"([+-]?)(?:0[xX]([0-9a-fA-F]{1,40})|0([0-7]{1,40})|([0-9]{1,40}))"


class Place(NamedTuple):
    """Where a value was written."""

    #: The TOML path, for messages.
    where: str
    #: What relative file names are relative to; None: the current directory, and nothing is expanded.
    directory: Path | None
    #: The dotted key within the outermost options.
    option: str = ""

    def inside(self, part: int | str) -> Place:
        """The place of an entry."""
        option = f"{self.option}.{part}" if self.option else str(part)
        return Place(toml_path(self.where, part), self.directory, option)


class OptionError(ConfigError):
    """An option is wrong, and how: for those who have words of their own for that."""

    def __init__(
        self, place: Place, flaw: Flaw, problem: str, remedy: str = "", *, expected: str = "", value: object = None
    ) -> None:
        super().__init__(place.where, problem, remedy)
        #: The dotted key within the outermost options.
        self.option = place.option
        self.flaw = flaw
        #: What the value should have been: "a whole number", "a size".
        self.expected = expected
        self.value = value
        #: The plug-in whose option it is, where that is known.
        self.plugin: type | None = None


#: ``value``: is not what is expected. ``choice``: is none of a few. ``bounds``: is too large or small.
Flaw = Literal["unknown", "twice", "missing", "value", "choice", "bounds"]


class Mismatch(Exception):
    """The value is of another type than ``expected``, which is a text: "a whole number"."""

    def __init__(self, expected: str, problem: str = "") -> None:
        self.expected = expected
        #: What else is wrong with a value of the right type.
        self.problem = problem
        super().__init__(expected)


class NotAChoice(Mismatch):
    """The value is none of a few."""

    def __init__(self, choices: Sequence[object], remedy: str) -> None:
        self.remedy = remedy
        super().__init__(" or ".join(map(repr, choices)))


#: Makes the option's value of what a user wrote. Raises Mismatch or ConfigError.
Converter = Callable[[object, Place], object]


@runtime_checkable
class Convertible(Protocol):
    """What an annotation may carry to say how its values are written: ``Annotated[int, SizeInBytes()]``."""

    @property
    def expected(self) -> str:
        """What a value is: "a size"."""

    def convert(self, value: object, directory: Path | None) -> object:
        """Raises Mismatch, or ValueError("is not a size; write 512K"): problem, and remedy where there is one."""


def converted(converter: Converter, value: object, place: Place) -> object:
    """``converter``'s result. Raises ConfigError, whatever is wrong."""
    try:
        return converter(value, place)
    except NotAChoice as mismatch:
        problem = f"{shown(value)} is not one of its values"
        raise OptionError(place, "choice", problem, mismatch.remedy, value=value) from None
    except Mismatch as mismatch:
        expected = mismatch.expected
        problem, _, remedy = mismatch.problem.partition("; ")
        if not problem:
            problem = f"must be {expected}, not {shown(value)}"
        elif problem.startswith("is not "):
            # What begins with a verb is said of the value.
            problem = f"{shown(value)} {problem}"
        raise OptionError(place, "value", problem, remedy, expected=expected, value=value) from None


def converter_of(annotation: Any) -> Converter:
    """How values of a resolved ``annotation`` are made. TypeError for a type that no option can have."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        marker = next((each for each in arguments[1:] if isinstance(each, Convertible)), None)
        if marker is None:
            return converter_of(arguments[0])
        return _marked(marker)
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
    if isinstance(annotation, type) and hasattr(annotation, "parse_at"):
        return _nested(annotation)
    raise TypeError(f"an option can't be of type {annotation!r}")


def check_bounds(value: Any, bounds: Mapping[str, Any], place: Place) -> None:
    """Raises OptionError when a converted ``value`` breaks one of ``ge``, ``le``, ``min_length``, ``max_length``."""
    problem = ""
    for name, bound in bounds.items():
        match name:
            case "ge" if value < bound:
                problem = f"must be at least {bound}, not {shown(value)}"
            case "le" if value > bound:
                problem = f"must be at most {bound}, not {shown(value)}"
            case "min_length" if len(value) < bound:
                problem = f"has {len(value)} {_unit(value)}, at least {bound}"
            case "max_length" if len(value) > bound:
                problem = f"has {len(value)} {_unit(value)}, at most {bound}"
    if problem:
        raise OptionError(place, "bounds", problem, value=value)


def _unit(value: object) -> str:
    return "characters" if isinstance(value, str) else "entries"


# ---- one value


def _bool(value: object, place: Place) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower() if isinstance(value, (str, int)) else ""
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
    found = re.fullmatch(_INTEGER, value) if isinstance(value, str) else None
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


def _marked(marker: Convertible) -> Converter:
    def convert(value: object, place: Place) -> object:
        try:
            return marker.convert(value, place.directory)
        except ValueError as error:
            raise Mismatch(marker.expected, str(error)) from None

    return convert


# ---- of several


def _nested(options_type: Any) -> Converter:
    def convert(value: object, place: Place) -> object:
        if isinstance(value, options_type):
            return value
        return options_type.parse_at(_table(value, place), place)

    return convert


def _literal(values: Sequence[object]) -> Converter:
    def convert(value: object, place: Place) -> object:
        for each in values:
            if (type(value) is type(each) and value == each) or (isinstance(value, str) and value == str(each)):
                return each
        raise NotAChoice(values, nearest(str(value)[:60], [str(each) for each in values]))

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
                expected.append(mismatch)
        if len(expected) == 1:
            raise expected[0]
        raise Mismatch(" or ".join(each.expected for each in expected))

    return convert
