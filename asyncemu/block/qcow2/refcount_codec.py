# SPDX-License-Identifier: GPL-2.0-or-later
"""Refcount blocks of all widths: numbers of 1, 2, 4, 8, 16, 32 or 64 bits, and searches in them at C's speed.

    codec = refcount_codec(block_size, order)
    counts = codec.unpack(data)
    codec.add(counts, first, end, +1)

qcow2.txt, "Refcount block entry": "If refcount_bits implies a sub-byte width, note that bit 0 means the least
significant bit in this context."
"""

from __future__ import annotations

import errno
import re
from array import array
from collections.abc import Iterable
from typing import Any, Final, Protocol

from asyncemu.block.qcow2.words import WordCodec

#: Entries that one search looks at in one go: bounds the copy that it makes.
_STEP: Final = 4096


class RefcountCodec(Protocol):
    """How refcounts are kept in memory, and what can be done with them. Indexes count entries of one block."""

    #: Bytes and entries of a block, and the largest refcount.
    size: int
    entries: int
    maximum: int

    def unpack(self, data: bytes | bytearray) -> Any:
        """A payload from the bytes of a block."""

    def empty(self) -> Any:
        """A payload of zeroes."""

    def pack(self, payload: Any, start: int, end: int) -> bytes:
        """The bytes [start, end) of the block; both are multiples of 8."""

    def get(self, payload: Any, index: int) -> int:
        """One refcount."""

    def put(self, payload: Any, index: int, value: int) -> None:
        """Set one."""

    def add(self, payload: Any, start: int, end: int, addend: int) -> None:
        """Add to [start, end). RefcountRange, and nothing is changed: one would not fit, or be negative."""

    def first_free(self, payload: Any, start: int, end: int) -> int:
        """The first index in [start, end) with refcount 0, or ``end``."""

    def first_used(self, payload: Any, start: int, end: int) -> int:
        """The first index in [start, end) with another refcount, or ``end``."""

    def last_used(self, payload: Any, end: int) -> int:
        """The last index before ``end`` with another refcount than 0, or -1."""

    def count_used(self, payload: Any, end: int) -> int:
        """How many before ``end`` have another refcount than 0."""

    def byte_range(self, start: int, end: int) -> tuple[int, int]:
        """The bytes, to multiples of 8, that hold the entries [start, end)."""

    def values(self, payload: Any, start: int, end: int) -> Iterable[int]:
        """The refcounts of [start, end)."""


class RefcountRange(Exception):
    """A refcount would be negative (EINVAL) or larger than its width allows (EINVAL). QEMU: update_refcount."""

    def __init__(self, index: int, value: int) -> None:
        self.index = index
        self.errno = errno.EINVAL
        super().__init__(f"refcount {value}")


class WideRefcounts(WordCodec):
    """8 bits and more: an array."""

    __slots__ = ("maximum",)

    def __init__(self, size: int, order: int) -> None:
        super().__init__(size, {3: "B", 4: "H", 5: "I", 6: "Q"}[order])
        self.maximum = (1 << (1 << order)) - 1

    def get(self, payload: array[int], index: int) -> int:
        return payload[index]

    def put(self, payload: array[int], index: int, value: int) -> None:
        payload[index] = value

    def add(self, payload: array[int], start: int, end: int, addend: int) -> None:
        part = payload[start:end]
        if part.count(part[0]) == len(part):
            # All the same, as when clusters are allocated or freed.
            value = part[0] + addend
            _check(start, value, self.maximum)
            payload[start:end] = array(self.typecode, [value]) * len(part)
            return
        for index, old in enumerate(part):
            value = old + addend
            _check(start + index, value, self.maximum)
            part[index] = value
        payload[start:end] = part

    def first_free(self, payload: array[int], start: int, end: int) -> int:
        try:
            return payload.index(0, start, end)
        except ValueError:
            return end

    def first_used(self, payload: array[int], start: int, end: int) -> int:
        with memoryview(payload) as view:
            while start < end:
                stop = min(start + _STEP, end)
                part = view[start:stop].tobytes()
                zeroes = len(part) - len(part.lstrip(b"\0"))
                if zeroes < len(part):
                    return start + zeroes // self.itemsize
                start = stop
        return end

    def last_used(self, payload: array[int], end: int) -> int:
        used = payload[:end].tobytes().rstrip(b"\0")
        return -(-len(used) // self.itemsize) - 1

    def count_used(self, payload: array[int], end: int) -> int:
        return end - payload[:end].count(0)

    def byte_range(self, start: int, end: int) -> tuple[int, int]:
        return start * self.itemsize & ~7, -(-end * self.itemsize // 8) * 8

    def values(self, payload: array[int], start: int, end: int) -> Iterable[int]:
        return payload[start:end]


class PackedRefcounts:
    """1, 2 or 4 bits: several in a byte, the first in its lowest bits. The payload is a bytearray, as on disk."""

    __slots__ = (
        "_bits",
        "_has_free",
        "_has_used",
        "_per_byte",
        "_used_of_byte",
        "entries",
        "maximum",
        "size",
    )

    def __init__(self, size: int, order: int) -> None:
        self._bits = 1 << order
        self._per_byte = 8 >> order
        self.size = size
        self.entries = size * self._per_byte
        self.maximum = (1 << self._bits) - 1
        with_free = bytes(byte for byte in range(256) if 0 in self._split(byte))
        self._has_free = re.compile(b"[" + re.escape(with_free) + b"]", re.DOTALL)
        self._used_of_byte = [(byte, sum(map(bool, self._split(byte)))) for byte in range(1, 256)]
        self._has_used = re.compile(rb"[^\0]", re.DOTALL)

    def _split(self, byte: int) -> list[int]:
        return [byte >> shift & self.maximum for shift in range(0, 8, self._bits)]

    def unpack(self, data: bytes | bytearray) -> bytearray:
        return bytearray(data)

    def empty(self) -> bytearray:
        return bytearray(self.size)

    def pack(self, payload: bytearray, start: int, end: int) -> bytes:
        return bytes(payload[start:end])

    def get(self, payload: bytearray, index: int) -> int:
        byte, position = divmod(index, self._per_byte)
        return payload[byte] >> position * self._bits & self.maximum

    def put(self, payload: bytearray, index: int, value: int) -> None:
        byte, position = divmod(index, self._per_byte)
        shift = position * self._bits
        payload[byte] = payload[byte] & ~(self.maximum << shift) | value << shift

    def add(self, payload: bytearray, start: int, end: int, addend: int) -> None:
        for index in range(start, end):
            _check(index, self.get(payload, index) + addend, self.maximum)
        for index in range(start, end):
            self.put(payload, index, self.get(payload, index) + addend)

    def first_free(self, payload: bytearray, start: int, end: int) -> int:
        return self._search(payload, start, end, self._has_free, free=True)

    def first_used(self, payload: bytearray, start: int, end: int) -> int:
        return self._search(payload, start, end, self._has_used, free=False)

    def _search(self, payload: bytearray, start: int, end: int, pattern: re.Pattern[bytes], *, free: bool) -> int:
        while start < end:
            found = pattern.search(payload, start // self._per_byte, -(-end // self._per_byte))
            if found is None:
                return end
            byte = found.start()
            first = max(start, byte * self._per_byte)
            for index in range(first, min(end, (byte + 1) * self._per_byte)):
                if (self.get(payload, index) == 0) == free:
                    return index
            start = (byte + 1) * self._per_byte
        return end

    def last_used(self, payload: bytearray, end: int) -> int:
        index = end - 1
        while index >= 0 and not self.get(payload, index):
            # To the end of the last byte that is not zero.
            used = payload[: index // self._per_byte].rstrip(b"\0")
            index = index - 1 if index % self._per_byte else len(used) * self._per_byte - 1
        return index

    def count_used(self, payload: bytearray, end: int) -> int:
        whole = end // self._per_byte
        found = sum(payload.count(byte, 0, whole) * used for byte, used in self._used_of_byte)
        return found + sum(1 for index in range(whole * self._per_byte, end) if self.get(payload, index))

    def byte_range(self, start: int, end: int) -> tuple[int, int]:
        return start // self._per_byte & ~7, -(-end // self._per_byte // 8) * 8

    def values(self, payload: bytearray, start: int, end: int) -> Iterable[int]:
        return [self.get(payload, index) for index in range(start, end)]


def _check(index: int, value: int, maximum: int) -> None:
    if not 0 <= value <= maximum:
        raise RefcountRange(index, value)


def refcount_codec(block_size: int, order: int) -> RefcountCodec:
    """For blocks of ``block_size`` bytes with refcounts of ``1 << order`` bits."""
    return WideRefcounts(block_size, order) if order >= 3 else PackedRefcounts(block_size, order)
