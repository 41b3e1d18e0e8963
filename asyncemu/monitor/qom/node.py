# SPDX-License-Identifier: GPL-2.0-or-later
"""Node: an object in the tree, as its provider shows it, and the ways to one.

Nothing is kept between two commands: the tree is made of what is there when somebody asks.

    /
    ├── machine              the board: [machine]
    │   ├── peripheral       the users' devices, by id
    │   ├── peripheral-anon  those without one: device[0], ...
    │   ├── soc0             harts[0], ...
    │   └── unattached       the board's own devices and slots
    ├── objects              iothreads, throttle groups, secrets, filters, ... by id
    ├── chardevs             by id
    └── backend              nothing
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from asyncemu.monitor.errors import DeviceNotFound, QmpError

#: A value as JSON has it.
Json = Any
Write = Callable[[Json], Awaitable[None]]

#: Parts of a path that are looked at: no tree of ours is as deep.
MAX_DEPTH: Final = 16


@dataclass(frozen=True, slots=True)
class Property:
    """What may be asked of an object, and perhaps set."""

    name: str
    #: As QEMU calls it: "bool", "int", "str", "link<iothread>", ...
    type: str
    value: Json
    write: Write | None = None
    #: Why it can't be set, where there is more to say than that.
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """An object: its type's name, its properties, and the objects that are part of it."""

    type: str
    properties: tuple[Property, ...] = ()
    children: Mapping[str, Node] = field(default_factory=dict)

    def property(self, name: str) -> Property:
        """Raises QmpError. Names with _ for - and the reverse are understood: QEMU has both kinds."""
        for candidate in (name, name.replace("_", "-"), name.replace("-", "_")):
            for each in self.properties:
                if each.name == candidate:
                    return each
        raise QmpError(f"Property '{self.type}.{name}' not found")


def container(children: Mapping[str, Node]) -> Node:
    """An object that is nothing but a place for others."""
    return Node("container", children=children)


def find(root: Node, path: str) -> tuple[str, Node]:
    """(Canonical path, node) at ``path``: absolute, or the end of exactly one absolute path. Raises QmpError."""
    parts = [part for part in path.split("/") if part]
    if path.startswith("/"):
        node = _below(root, parts)
        found = [] if node is None else [("/" + "/".join(parts), node)]
    else:
        found = [
            ("/".join([base, *parts]) or "/", node)
            for base, start in _all(root, "")
            if (node := _below(start, parts)) is not None
        ]
    if not found:
        raise DeviceNotFound(f"Device '{path}' not found")
    if len(found) > 1:
        raise QmpError(f"Path '{path}' is ambiguous")
    return found[0]


def _below(node: Node | None, parts: list[str]) -> Node | None:
    if len(parts) > MAX_DEPTH:
        return None
    for part in parts:
        node = node.children.get(part) if node is not None else None
    return node


def _all(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    yield path, node
    for name, child in node.children.items():
        yield from _all(child, f"{path}/{name}")
