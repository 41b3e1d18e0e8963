# SPDX-License-Identifier: GPL-2.0-or-later
"""Flattened device trees: the description of a board that firmware and kernels read.

Source: Devicetree Specification v0.4; section numbers below are its own.

    root = Node()
    root["#address-cells"] = root["#size-cells"] = 2
    soc = root.add("soc", {"#address-cells": 2, "#size-cells": 2}, compatible="simple-bus", ranges=True)
    plic = soc.add("plic@c000000", reg=u64(0xC000000, 0x600000), compatible=["sifive,plic-1.0.0", "riscv,plic0"])
    soc.add("serial@10000000", {"interrupt-parent": plic}, reg=u64(0x10000000, 0x100), interrupts=10)
    blob = root.to_blob()

A node in the place of a number stands for its phandle, which the tree hands out when it is first asked for.
Values are encoded when they are set, so that a mistake fails at the line that makes it: ``ValueError`` or
``TypeError``, for these are mistakes of a board's author. Text of a user's (``bootargs``) is to be checked before.

All of it is plain data: no I/O, any thread, one at a time.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, Union

MAGIC = 0xD00DFEED  # 5.2
VERSION = 17
LAST_COMPATIBLE_VERSION = 16
_HEADER = struct.Struct(">10I")
_RESERVATION = struct.Struct(">QQ")
_U32 = struct.Struct(">I")

# Tokens of the structure block (5.4.1); FDT_NOP is never written.
_BEGIN_NODE = _U32.pack(1)
_END_NODE = _U32.pack(2)
_PROP = 3
_END = _U32.pack(9)

_NODE_NAME = re.compile(r"[A-Za-z][0-9A-Za-z,._+-]{0,30}(@[0-9A-Za-z,._+-]+)?")  # 2.2.1
_PROPERTY_NAME = re.compile(r"[0-9A-Za-z,._+?#-]{1,31}")  # 2.2.4.1
_PHANDLE = "phandle"

Cell: TypeAlias = Union[int, "Node"]
# All items of a sequence are cells, or all are strings: two kinds of sequence here would defeat mypy's inference.
Value: TypeAlias = bool | Cell | str | bytes | Sequence[Cell | str]


def u64(*values: int) -> list[int]:
    """Each value as two cells, the more significant one first (<u64> of 2.2.4.2): ``reg=u64(address, size)``."""
    for value in values:
        if not 0 <= value < 1 << 64:
            raise ValueError(f"{value:#x} does not fit into 64 bits")
    return [half for value in values for half in (value >> 32, value & 0xFFFF_FFFF)]


class Node:
    """A node with its properties and children; ``Node()`` without a parent is the root of a new tree."""

    def __init__(self) -> None:
        self.name = ""
        self.parent: Node | None = None
        self.children: dict[str, Node] = {}
        self.properties: dict[str, bytes] = {}
        self._last_phandle = 0  # counted in the root only

    def add(self, name: str, properties: Mapping[str, Value] | None = None, /, **more: Value) -> Node:
        """Append a child; ``properties`` takes the names that Python's keywords can't spell.

        Raises ValueError for a name that is malformed or taken.
        """
        if not _NODE_NAME.fullmatch(name):
            raise ValueError(f"{self.path}: {name!r} is no node name (Devicetree Specification 2.2.1)")
        if name in self.children or name in self.properties:
            raise ValueError(f"{self.path}: {name!r} is there already")
        child = Node()
        child.name = name
        child.parent = self
        # Joined before its properties are set: a reference needs the root, which counts the phandles.
        self.children[name] = child
        for key, value in {**(properties or {}), **more}.items():
            child[key] = value
        return child

    def __setitem__(self, name: str, value: Value) -> None:
        """Set a property (2.2.4).

        int: one u32 cell. Node: its phandle. A list of both: cells. str: text with its NUL. A list of str: one after
        the other. bytes: as they are. True: present and empty. False: absent.
        """
        if name == _PHANDLE:
            raise ValueError(f"{self.path}: phandles are handed out by the tree")
        if not _PROPERTY_NAME.fullmatch(name):
            raise ValueError(f"{self.path}: {name!r} is no property name (Devicetree Specification 2.2.4.1)")
        if name in self.children:
            raise ValueError(f"{self.path}: {name!r} is there already, as a node")
        if value is False:
            self.properties.pop(name, None)
            return
        try:
            self.properties[name] = self._encode(value)
        except TypeError as error:
            raise TypeError(f"{self.path}: property {name!r}: {error}") from None
        except ValueError as error:
            raise ValueError(f"{self.path}: property {name!r}: {error}") from None

    def __getitem__(self, name: str) -> bytes:
        """The property as it lies in the blob; KeyError if there is none."""
        return self.properties[name]

    @property
    def path(self) -> str:
        """The full path (2.2.3), as ``stdout-path`` and aliases want it: "/soc/serial@10000000"."""
        names = [node.name for node in self._lineage()]
        return "/".join(reversed(names)) or "/"

    @property
    def phandle(self) -> int:
        """The number by which other nodes refer to this one (2.3.3); asking for it puts it into the tree."""
        if _PHANDLE not in self.properties:
            root = self._root()
            root._last_phandle += 1
            self.properties[_PHANDLE] = _U32.pack(root._last_phandle)
        (number,) = _U32.unpack(self.properties[_PHANDLE])
        return int(number)

    def to_blob(self, *, boot_cpu: int = 0, reserved: Sequence[tuple[int, int]] = (), slack: int = 0) -> bytes:
        """The tree under this root in the flattened format (5.1), 8-byte aligned in itself.

        ``boot_cpu`` is the ``reg`` of the CPU that starts. ``reserved`` are (address, size) pairs in bytes that the
        guest must leave alone (5.3). ``slack`` is room for more in bytes, at the end.
        """
        if self.parent is not None:
            raise ValueError(f"{self.path}: only a root becomes a blob")
        for address, size in reserved:
            if size == 0:
                raise ValueError(f"an empty reservation at {address:#x} would end the map (5.3.2)")
        reservations = b"".join(_RESERVATION.pack(*pair) for pair in (*reserved, (0, 0)))
        strings = _Strings()
        structure = b"".join([*self._tokens(strings), _END])
        structure_at = _HEADER.size + len(reservations)
        strings_at = structure_at + len(structure)
        padding = bytes(slack + -(strings_at + len(strings.block) + slack) % 8)
        header = _HEADER.pack(
            MAGIC,
            strings_at + len(strings.block) + len(padding),
            structure_at,
            strings_at,
            _HEADER.size,
            VERSION,
            LAST_COMPATIBLE_VERSION,
            boot_cpu,
            len(strings.block),
            len(structure),
        )
        return b"".join([header, reservations, structure, strings.block, padding])

    def _tokens(self, strings: _Strings) -> Iterator[bytes]:
        """This node in the structure block; properties stand before children (5.4.2)."""
        yield _BEGIN_NODE
        yield _terminated_and_padded(self.name)
        for name, value in self.properties.items():
            yield struct.pack(">III", _PROP, len(value), strings.offset(name))
            yield _padded(value)
        for child in self.children.values():
            yield from child._tokens(strings)
        yield _END_NODE

    def _encode(self, value: Value) -> bytes:
        match value:
            case True:
                return b""
            case bytes():
                return value
            case str() | int() | Node():
                return self._encode_item(value)
            case [] | ():
                raise ValueError("an empty list says neither cells nor strings; True makes an empty property")
            case [*items] if len({isinstance(item, str) for item in items}) == 1:
                return b"".join(self._encode_item(item) for item in items)
        raise TypeError(f"no device tree value: {value!r}")

    def _encode_item(self, item: Cell | str) -> bytes:
        match item:
            case bool():
                raise TypeError("True and False are no cells")
            case int():
                if not 0 <= item < 1 << 32:
                    raise ValueError(f"{item:#x} does not fit into a cell of 32 bits; u64() makes two")
                return _U32.pack(item)
            case Node():
                if item._root() is not self._root():
                    raise ValueError(f"{item.path} belongs to another tree")
                return _U32.pack(item.phandle)
            case str():
                if "\0" in item:
                    raise ValueError(f"NUL inside of {item!r}")
                return item.encode() + b"\0"
        raise TypeError(f"neither a cell nor a string: {item!r}")

    def _lineage(self) -> Iterator[Node]:
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def _root(self) -> Node:
        *_, root = self._lineage()
        return root


class _Strings:
    """The strings block (5.5): each property name once."""

    def __init__(self) -> None:
        self.block = bytearray()
        self._offsets: dict[str, int] = {}

    def offset(self, name: str) -> int:
        if name not in self._offsets:
            self._offsets[name] = len(self.block)
            self.block += name.encode("ascii") + b"\0"
        return self._offsets[name]


def _padded(data: bytes) -> bytes:
    """Tokens lie on 4-byte boundaries (5.4.1)."""
    return data + bytes(-len(data) % 4)


def _terminated_and_padded(name: str) -> bytes:
    return _padded(name.encode("ascii") + b"\0")
