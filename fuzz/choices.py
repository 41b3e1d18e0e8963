# SPDX-License-Identifier: GPL-2.0-or-later
"""Choices: decisions taken from the bytes of an input, so that a small change of the input is one of what happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Choices:
    """Reads from the front. Behind the end all is zero: the first of everything."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        """Bytes that were not read."""
        return max(len(self._data) - self._at, 0)

    def number(self, width: int) -> int:
        """``width`` bytes, big endian."""
        return int.from_bytes(self.take(width).ljust(width, b"\0"), "big")

    def below(self, bound: int) -> int:
        """0 to ``bound`` - 1; of two bytes."""
        return self.number(2) % bound

    def of(self, values: Sequence[T]) -> T:
        """One of at most 256."""
        return values[self.number(1) % len(values)]

    def take(self, length: int) -> bytes:
        """At most ``length`` bytes."""
        taken = self._data[self._at : self._at + length]
        self._at += length
        return taken

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.left)
