# SPDX-License-Identifier: GPL-2.0-or-later
"""VolatileCache: what was written and is not safe yet, sector by sector, each with all its versions. No I/O.

When the power goes, each sector is, independently of the others, what it was at the last flush or what any write since
then has made it: a disk may write back when it likes and in any order. So a write of several sectors may be torn, and a
later one may survive an earlier one.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from asyncemu.block.chaos.sectors import SECTOR, joined
from asyncemu.memory.buffers import Buffers


class VolatileCache:
    """Offsets and lengths are multiples of SECTOR."""

    def __init__(self) -> None:
        #: By number of the sector; the oldest version first. In the order of their first write.
        self._versions: dict[int, list[bytes]] = {}
        #: Bytes of all versions.
        self.nbytes = 0

    def write(self, offset: int, data: bytes) -> None:
        """Remember a write."""
        for position in range(0, len(data), SECTOR):
            self._versions.setdefault((offset + position) // SECTOR, []).append(data[position : position + SECTOR])
        self.nbytes += len(data)

    def latest(self, offset: int, length: int) -> dict[int, bytes]:
        """What is known in a range: the last version of each sector, by number."""
        numbers: Iterable[int] = range(offset // SECTOR, (offset + length) // SECTOR)
        if len(self._versions) < length // SECTOR:
            numbers = [number for number in self._versions if offset <= number * SECTOR < offset + length]
        return {number: self._versions[number][-1] for number in numbers if number in self._versions}

    def cut(self, size: int) -> None:
        """The disk has ``size`` bytes from now on: what is behind is forgotten, and zero if it grows again."""
        for number in [each for each in self._versions if (each + 1) * SECTOR > size]:
            kept = size - number * SECTOR
            if kept > 0:
                self._versions[number] = [each[:kept].ljust(SECTOR, b"\0") for each in self._versions[number]]
            else:
                self.nbytes -= SECTOR * len(self._versions.pop(number))

    def runs(self, numbers: Iterable[int] | None = None) -> list[tuple[int, int]]:
        """The ranges (start, end) of bytes that are known, of some sectors or of all."""
        known = sorted(self._versions if numbers is None else (each for each in numbers if each in self._versions))
        return joined((number * SECTOR, (number + 1) * SECTOR) for number in known)

    def oldest(self, nbytes: int) -> list[int]:
        """Numbers of the sectors that were first written longest ago, with so many bytes together, or all."""
        chosen: list[int] = []
        for number, versions in self._versions.items():
            if nbytes <= 0:
                break
            chosen.append(number)
            nbytes -= SECTOR * len(versions)
        return chosen

    def snapshot(self, start: int, end: int) -> tuple[bytes, list[int]]:
        """The bytes of a run, and how many versions of each sector they stand for."""
        versions = [self._versions[number] for number in range(start // SECTOR, end // SECTOR)]
        return b"".join(each[-1] for each in versions), [len(each) for each in versions]

    def forget(self, start: int, counts: Iterable[int]) -> None:
        """What ``snapshot`` gave is safe now; versions that came later are not."""
        for number, count in enumerate(counts, start // SECTOR):
            versions = self._versions.get(number, [])
            dropped = min(count, len(versions))
            del versions[:dropped]
            self.nbytes -= SECTOR * dropped
            if not versions:
                self._versions.pop(number, None)

    def lose(self, rng: random.Random) -> list[tuple[int, bytes]]:
        """The power goes: (offset, data) of what has become safe by chance, in order. The cache is empty then."""
        kept: dict[int, bytes] = {}
        for number in sorted(self._versions):
            versions = self._versions[number]
            which = rng.randrange(len(versions) + 1)
            if which:
                kept[number] = versions[which - 1]
        self._versions.clear()
        self.nbytes = 0
        runs = joined((number * SECTOR, (number + 1) * SECTOR) for number in kept)
        return [
            (start, b"".join(kept[number] for number in range(start // SECTOR, end // SECTOR))) for start, end in runs
        ]


def overlay(buffers: Buffers, offset: int, sectors: dict[int, bytes]) -> None:
    """Put ``sectors`` over what was read at ``offset`` into ``buffers``."""
    for number, data in sectors.items():
        buffers.slice(number * SECTOR - offset, SECTOR).write(data)
