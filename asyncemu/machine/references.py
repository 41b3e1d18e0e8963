# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that name other objects: checking that they exist, and handing them to the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

from asyncemu.errors import ConfigError
from asyncemu.plain_options import AnyOptions
from asyncemu.plain_options_pydantic import model_of
from asyncemu.plugins import Plugin, Reference

#: How a message calls the things of each table.
_CALLED = {
    "blockdev": "blockdev has the node-name",
    "iothread": "iothread has the id",
    "chardev": "chardev has the id",
    "netdev": "netdev has the id",
    "netfilter": "netfilter has the id",
}


@runtime_checkable
class NamesInTexts(Protocol):
    """Options that name other objects within texts, such as QEMU's forwards. The plug-in is a Refers."""

    def names_in_texts(self) -> Iterable[tuple[str, str, str]]:
        """(Key, table, name) of each."""


@runtime_checkable
class Refers(Protocol):
    """A plug-in whose options are NamesInTexts."""

    def refer(self, kind: str, name: str, found: Any) -> None:
        """The object that one of the names means."""


def references(options: AnyOptions, where: str) -> Iterator[tuple[str, str, str, str]]:
    """(TOML path, field, table, name) of every reference in ``options`` and in the tables inside; no empty names.

    The field is empty where the name is part of a text.
    """
    for field_name, field in model_of(type(options)).model_fields.items():
        value = getattr(options, field_name)
        path = f"{where}.{field.alias or field_name}"
        for marker in field.metadata:
            if isinstance(marker, Reference) and value:
                yield path, field_name, marker.kind, value
        if isinstance(value, AnyOptions):
            yield from references(value, path)
        for index, inner in enumerate(value if isinstance(value, list) else ()):
            if isinstance(inner, AnyOptions):
                yield from references(inner, f"{path}[{index}]")
    if isinstance(options, NamesInTexts):
        for key, kind, name in options.names_in_texts():
            yield f"{where}.{key}", "", kind, name


def resolve(plugin: Plugin[Any], lookup: Callable[[str, str], Any], where: str) -> None:
    """Set what the plug-in's own references mean as attributes of the same names; ConfigError for those that dangle."""
    top_level = set()
    for path, field_name, kind, name in references(plugin.options, where):
        try:
            found = lookup(kind, name)
        except KeyError:
            raise ConfigError(path, f"no {_CALLED[kind]} {name!r}") from None
        if not field_name:
            assert isinstance(plugin, Refers)
            plugin.refer(kind, name, found)
        elif getattr(plugin.options, field_name, None) == name and field_name not in top_level:
            top_level.add(field_name)
            setattr(plugin, field_name, found)
