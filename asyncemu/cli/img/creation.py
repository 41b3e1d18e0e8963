# SPDX-License-Identifier: GPL-2.0-or-later
"""``-o``: the options of a new image, those of its format and those of the protocol that its file is on.

They are the fields of the drivers' ``creation`` classes. QEMU calls its own by names with underscores, shows some
defaults and not others, and shows them in an order of its own; scripts parse what it prints. QEMU: bdrv_img_create.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from asyncemu.block.driver import BlockDriver
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.option_strings import split_options
from asyncemu.cli.tools.sizes import NotASize, SizeOutOfRange, parse_size
from asyncemu.plain_options import PlainOptions
from asyncemu.size import Size

#: How qemu-img orders the options of a format when it shows them.
_FORMAT_ORDER: Final = (
    "encryption",
    "encrypt.format",
    "encrypt.key-secret",
    "encrypt.cipher-alg",
    "encrypt.cipher-mode",
    "encrypt.ivgen-alg",
    "encrypt.ivgen-hash-alg",
    "encrypt.hash-alg",
    "encrypt.iter-time",
    "cluster_size",
    "extended_l2",
    "preallocation",
    "compression_type",
    "size",
    "compat",
    "backing_file",
    "backing_fmt",
    "data_file",
    "data_file_raw",
    "lazy_refcounts",
    "refcount_bits",
)

#: The same for a protocol.
_PROTOCOL_ORDER: Final = ("size", "nocow", "preallocation", "extent_size_hint")

#: Options whose defaults it shows, as it spells them.
_SHOWN_DEFAULTS: Final = {
    "cluster_size": "65536",
    "extended_l2": "off",
    "compression_type": "zlib",
    "lazy_refcounts": "off",
    "refcount_bits": "16",
}

SIZE_HINT: Final = (
    "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
)

_BOOLEANS: Final = {
    "on": True,
    "yes": True,
    "true": True,
    "y": True,
    "off": False,
    "no": False,
    "false": False,
    "n": False,
}


class CreationOptions:
    """What ``-o`` and other arguments have said so far about a new image."""

    def __init__(self, driver: type[BlockDriver[Any]], protocol: type[BlockDriver[Any]] | None) -> None:
        """``protocol`` None: what is the format's only."""
        self._driver = driver
        self._protocol = protocol
        #: As they were written.
        self._texts: dict[str, str] = {}
        self._values: dict[str, object] = {}
        self._kinds = {**_kinds(protocol), **_kinds(driver)}

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def knows(self, name: str) -> bool:
        """Does the format, or the protocol, have the option?"""
        return name in self._kinds

    def text(self, name: str) -> str | None:
        """As it was written; None: not given."""
        return self._texts.get(name)

    def number(self, name: str) -> int | None:
        """The value of one that is a size or a number."""
        value = self._values.get(name)
        return value if isinstance(value, int) else None

    def is_on(self, name: str) -> bool:
        """The value of one that is a boolean."""
        return self._values.get(name) is True

    def add(self, text: str) -> None:
        """Take ``name=value,...``. ToolError."""
        for name, value in split_options(text):
            self.set(name, value)

    def set(self, name: str, text: str) -> None:
        """Take one. ToolError."""
        if name not in self._kinds:
            raise ToolError(f"Invalid parameter '{name}'")
        self._values[name] = _parsed(name, self._kinds[name], text)
        self._texts[name] = text

    def set_size(self, size: int) -> None:
        """The virtual size in bytes."""
        self._texts["size"] = str(size)
        self._values["size"] = size

    def drop(self, name: str) -> None:
        """As if it had not been given."""
        self._texts.pop(name, None)
        self._values.pop(name, None)

    def line(self) -> str:
        """What qemu-img prints of them: ``cluster_size=65536 size=1048576``."""
        shown = []
        for name in self._order():
            if name in self._texts:
                value = self._values[name]
                # Commas would end it where it is read again.
                text = (
                    str(value) if isinstance(value, int) and self._kinds[name] in ("size", "num") else self._texts[name]
                )
                shown.append(f"{name}={text.replace(',', ',,') if self._kinds[name] == 'str' else text}")
            elif name in _SHOWN_DEFAULTS and name in _kinds(self._driver):
                shown.append(f"{name}={_SHOWN_DEFAULTS[name]}")
        return " ".join(shown)

    def for_format(self) -> PlainOptions:
        """An instance of the format's ``creation``. ToolError."""
        return _instance(self._driver, self._values)

    def for_protocol(self, size: int) -> PlainOptions:
        """An instance of the protocol's ``creation``, with a file of ``size`` bytes. ToolError.

        What the format has options for is the format's matter, unless it is nothing but its file.
        """
        assert self._protocol is not None
        formats = {} if self._driver.name in ("raw", self._protocol.name) else _kinds(self._driver)
        values = {name: value for name, value in self._values.items() if name not in formats}
        return _instance(self._protocol, {**values, "size": size})

    def _order(self) -> Iterable[str]:
        formats = _kinds(self._driver)
        protocols = [name for name in _kinds(self._protocol) if name not in formats]
        yield from _ordered(formats, _FORMAT_ORDER if len(formats) > len(_PROTOCOL_ORDER) else _PROTOCOL_ORDER)
        yield from _ordered(protocols, _PROTOCOL_ORDER)


def print_option_help(driver: type[BlockDriver[Any]], protocol: type[BlockDriver[Any]] | None) -> None:
    """What ``-o help`` prints; without the protocol, there is a hint at it."""
    title = "Supported options:" if protocol is not None else f"Supported {driver.name} options:"
    lines = [title, *option_lines(driver, protocol)]
    if protocol is None and driver.is_format:
        lines += ["", "The protocol level may support further options."]
        lines += ["Specify the target filename to include those options."]
    sys.stdout.write("\n".join(lines) + "\n")


def option_lines(
    driver: type[BlockDriver[Any]], protocol: type[BlockDriver[Any]] | None, without: Collection[str] = ()
) -> list[str]:
    """A line for each option, but for those in ``without``."""
    rows = {**_descriptions(protocol), **_descriptions(driver)}
    kinds = {"size": "size", "bool": "bool (on/off)", "num": "num", "str": "str"}
    return [
        f"  {f'{name}=<{kinds[kind]}>':<22} - {description}"
        for name, (kind, description) in sorted(rows.items())
        if name not in without
    ]


# ---- fields of the ``creation`` classes


def _kinds(driver: type[BlockDriver[Any]] | None) -> dict[str, str]:
    """``size``, ``num``, ``bool`` or ``str`` by QEMU's names."""
    if driver is None or driver.creation is None:
        return {}
    return {_spelling(field): _kind(annotation) for field, annotation in driver.creation.annotations().items()}


def _descriptions(driver: type[BlockDriver[Any]] | None) -> dict[str, tuple[str, str]]:
    if driver is None or driver.creation is None:
        return {}
    kinds = _kinds(driver)
    fields = driver.creation.fields
    return {_spelling(name): (kinds[_spelling(name)], field.description) for name, field in fields.items()}


def _spelling(field: str) -> str:
    """``encrypt_key_secret`` is ``encrypt.key-secret``; others are as they are."""
    return "encrypt." + field[8:].replace("_", "-") if field.startswith("encrypt_") else field


def _kind(annotation: Any) -> str:
    import typing

    alternatives = [each for each in (typing.get_args(annotation) or ()) if each is not type(None)]
    for each in (annotation, *alternatives):
        if each == Size:
            return "size"
        if each is bool:
            return "bool"
    return "num" if int in (annotation, *alternatives) else "str"


def _parsed(name: str, kind: str, text: str) -> object:
    match kind:
        case "size":
            return parse_size_option(name, text)
        case "num":
            return _number(name, text)
        case "bool":
            if text not in _BOOLEANS:
                raise ToolError(f"Parameter '{name}' expects 'on' or 'off'")
            return _BOOLEANS[text]
        case _:
            return text


def parse_size_option(name: str, text: str) -> int:
    """QEMU: parse_option_size. ToolError."""
    try:
        return parse_size(text)
    except SizeOutOfRange:
        raise ToolError(f"Value '{text}' is out of range for parameter '{name}'") from None
    except NotASize:
        raise ToolError(f"Parameter '{name}' expects a non-negative number below 2^64", hint=SIZE_HINT) from None


def _number(name: str, text: str) -> int:
    try:
        number = int(text[:40], 0) if text[:2].lower() == "0x" else int(text[:40])
    except ValueError:
        raise ToolError(f"Parameter '{name}' expects a number") from None
    if not 0 <= number < 1 << 64:
        raise ToolError(f"Value '{text}' is out of range for parameter '{name}'")
    return number


def _instance(driver: type[BlockDriver[Any]], given: Mapping[str, object]) -> PlainOptions:
    """The ``creation`` of ``driver`` with what it knows of ``given``. Choices are checked last, as in qemu-img."""
    creation = driver.creation
    assert creation is not None
    fields = {_spelling(field): field for field in creation.fields}
    values = {}
    for name, value in given.items():
        if name in fields:
            _check_choice(driver, creation, fields[name], name, value)
            values[fields[name]] = value
    return creation(**values)


def _check_choice(
    driver: type[BlockDriver[Any]], creation: type[PlainOptions], field: str, name: str, value: object
) -> None:
    import typing

    annotation = creation.annotations()[field]
    alternatives = [annotation, *typing.get_args(annotation)]
    choices = [
        each for one in alternatives if typing.get_origin(one) is typing.Literal for each in typing.get_args(one)
    ]
    if not choices or value in choices:
        return
    if not driver.is_format:
        raise ToolError(f"invalid parameter value: {value}")
    # QMP calls it so.
    raise ToolError(f"Parameter '{'version' if name == 'compat' else name}' does not accept value '{value}'")


def _ordered(names: Iterable[str], order: tuple[str, ...]) -> list[str]:
    known = {name: at for at, name in enumerate(order)}
    return sorted(names, key=lambda name: known.get(name, len(known)))
