# SPDX-License-Identifier: GPL-2.0-or-later
"""Sectors: what a disk writes as a whole or not at all; and a choice of those that survive."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Final

SECTOR: Final = 512

#: Bytes of one write that survivors are put together into.
_LONGEST_RUN: Final = 1 << 20


def pieces(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Start and end, in bytes, of the part of each sector that lies in the range."""
    end = offset + length
    while offset < end:
        stop = min((offset // SECTOR + 1) * SECTOR, end)
        yield offset, stop
        offset = stop


def survivors(rng: random.Random, offset: int, length: int) -> list[tuple[int, int]]:
    """Ranges (start, end) of a torn write that are written: a prefix, or any sectors; never all of it.

    Empty for a write of one sector.
    """
    parts = list(pieces(offset, length))
    if rng.random() < 0.5:
        return joined(parts[: rng.randrange(len(parts))])
    kept = [part for part in parts if rng.random() < 0.5]
    if len(kept) == len(parts):
        kept.pop(rng.randrange(len(kept)))
    return joined(kept)


def joined(parts: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """``parts``, in order, with those put together that touch each other, up to a length that is quick to write."""
    runs: list[tuple[int, int]] = []
    for start, end in parts:
        if runs and runs[-1][1] == start and end - runs[-1][0] <= _LONGEST_RUN:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs
