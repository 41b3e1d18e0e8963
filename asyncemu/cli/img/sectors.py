# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in a buffer the zeroes are, and the differences: by whole sectors, as the tools have always had it.

A bytearray that is compared with a memoryview is compared by memcmp(3), 20 GB a second; two memoryviews are compared a
byte at a time by way of Python objects, a hundred times slower. So one side is a bytearray here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

#: Bytes.
SECTOR: Final = 512

#: Compared at once: large enough that the calls don't count, small enough for the processor's cache.
_PIECE: Final = 1 << 16

_ZEROES: Final = bytearray(_PIECE)


def is_zero(view: memoryview) -> bool:
    """Are all bytes zero?"""
    length = len(view)
    if length and (view[0] or view[-1]):
        return False
    for start in range(0, length, _PIECE):
        part = view[start : start + _PIECE]
        if part != (_ZEROES if len(part) == _PIECE else bytearray(len(part))):
            return False
    return True


def first_nonzero(view: memoryview) -> int | None:
    """Offset of the first sector with a byte that is not zero."""
    for start in range(0, len(view), _PIECE):
        part = view[start : start + _PIECE]
        if not is_zero(part):
            return start + next(at for at in range(0, len(part), SECTOR) if not is_zero(part[at : at + SECTOR]))
    return None


def first_difference(one: memoryview, other: memoryview) -> int | None:
    """Offset of the first sector in which they differ. They have the same length."""
    for start in range(0, len(one), _PIECE):
        part, counterpart = bytearray(one[start : start + _PIECE]), other[start : start + _PIECE]
        if part != counterpart:
            return start + next(
                at for at in range(0, len(part), SECTOR) if part[at : at + SECTOR] != counterpart[at : at + SECTOR]
            )
    return None


def differing_runs(one: memoryview, other: memoryview) -> Iterator[tuple[bool, int]]:
    """Pairs (do they differ, bytes) that make up the whole, whole sectors each."""
    at, length = 0, len(one)
    while at < length:
        step = first_difference(one[at:], other[at:])
        if step is None:
            yield False, length - at
            return
        if step:
            yield False, step
            at += step
        start = at
        while at < length and bytearray(one[at : at + SECTOR]) != other[at : at + SECTOR]:
            at += SECTOR
        at = min(at, length)
        yield True, at - start


def data_runs(view: memoryview, offset: int, block: int, shortest: int) -> list[tuple[bool, int]]:
    """Pairs (is it data, bytes) that make up ``view``, whose first byte is at ``offset`` of the disk.

    A block of ``block`` bytes (a power of two; of the disk) is data when it has a byte that is not zero. Zeroes between
    data count as data when they are fewer than ``shortest`` bytes: a hole that small is not worth a request.
    QEMU: is_allocated_sectors_min.
    """
    zeroes = _ZEROES if block == _PIECE else bytearray(block)
    runs: list[tuple[bool, int]] = []
    length = len(view)
    at = 0
    start, was_data = 0, None
    while at < length:
        step = min(block - (offset + at) % block, length - at)
        part = view[at : at + step]
        is_data = bool(part != zeroes) if step == block else not is_zero(part)
        if is_data is not was_data:
            if was_data is not None:
                _append(runs, was_data, at - start, shortest)
            start, was_data = at, is_data
        at += step
    if was_data is not None:
        _append(runs, was_data, length - start, shortest)
    return runs


def _append(runs: list[tuple[bool, int]], is_data: bool, length: int, shortest: int) -> None:
    """Zeroes come before it is known whether data follow. When data do, and they were few, the three are one."""
    if is_data and len(runs) > 1 and runs[-2][0] and runs[-1][1] < shortest:
        zeroes, data = runs.pop(), runs.pop()
        runs.append((True, data[1] + zeroes[1] + length))
    else:
        runs.append((is_data, length))
