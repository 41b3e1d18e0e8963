# SPDX-License-Identifier: GPL-2.0-or-later
"""Coverage: which bytes of a read have come. Chunks may come in any order, but none twice (proto.md, CMD_READ)."""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

#: Gaps that a server may leave open at a time, far more than it has a reason for (arbitrary).
MAX_RANGES: Final = 1 << 14


class Coverage:
    """Disjoint ranges of bytes, neighbours merged. ``add`` raises ValueError for what can't be."""

    __slots__ = ("_ends", "_starts", "nbytes")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        #: Bytes that have come.
        self.nbytes = 0

    def add(self, start: int, end: int) -> None:
        """The bytes [start, end) have come."""
        starts, ends = self._starts, self._ends
        index = bisect_right(starts, start)
        joins_before = index > 0 and ends[index - 1] == start
        joins_behind = index < len(starts) and starts[index] == end
        if (index > 0 and ends[index - 1] > start) or (index < len(starts) and starts[index] < end):
            raise ValueError(f"the bytes {start} to {end} overlap with an earlier chunk")
        self.nbytes += end - start
        if joins_before and joins_behind:
            ends[index - 1] = ends.pop(index)
            del starts[index]
        elif joins_before:
            ends[index - 1] = end
        elif joins_behind:
            starts[index] = start
        else:
            if len(starts) == MAX_RANGES:
                raise ValueError(f"more than {MAX_RANGES} pieces")
            starts.insert(index, start)
            ends.insert(index, end)
