# SPDX-License-Identifier: GPL-2.0-or-later
"""Big-endian numbers on disk, native ones in memory: tables as ``array``, whose elements cost nothing to get at."""

from __future__ import annotations

import sys
from array import array
from typing import Final

_SWAP: Final = sys.byteorder == "little"


def words_from(data: bytes | bytearray | memoryview, typecode: str = "Q") -> array[int]:
    """Numbers from the bytes of a table."""
    words = array(typecode)
    words.frombytes(data)
    if _SWAP:
        words.byteswap()
    return words


def words_bytes(words: array[int]) -> bytes:
    """The bytes of a table; ``words`` stays as it is."""
    if not _SWAP:
        return words.tobytes()
    swapped = words[:]
    swapped.byteswap()
    return swapped.tobytes()


def zero_words(count: int, typecode: str = "Q") -> array[int]:
    """``count`` zeroes."""
    return array(typecode, bytes(array(typecode).itemsize * count))


class WordCodec:
    """Tables of numbers of 8, 16, 32 or 64 bits. The payload is an array."""

    __slots__ = ("entries", "itemsize", "size", "typecode")

    def __init__(self, size: int, typecode: str = "Q") -> None:
        self.typecode = typecode
        self.itemsize = array(typecode).itemsize
        #: Bytes of a table.
        self.size = size
        self.entries = size // self.itemsize

    def unpack(self, data: bytes | bytearray) -> array[int]:
        """A payload from the bytes of a table."""
        return words_from(data, self.typecode)

    def empty(self) -> array[int]:
        """A payload of zeroes."""
        return zero_words(self.entries, self.typecode)

    def pack(self, payload: array[int], start: int, end: int) -> bytes:
        """The bytes [start, end) of the table; both are multiples of 8."""
        return words_bytes(payload[start // self.itemsize : end // self.itemsize])
