# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in a buffer the zeroes are, and the differences: by whole sectors, as the tools have always had it.

A bytearray that is compared with a memoryview is compared by memcmp(3), 20 GB a second. A memoryview that is compared
with anything is compared a byte at a time, by way of Python objects, a hundred times slower. So the left side is always
a bytearray here.
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
        if (_ZEROES if len(part) == _PIECE else bytearray(len(part))) != part:
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

    A block of ``block`` bytes (a power of two, of the disk, a sector at the least) is data when it has a byte that is
    not zero. Zeroes between data count as data when they are fewer than ``shortest`` bytes: a hole that small is not
    worth a request. QEMU: is_allocated_sectors_min.
    """
    runs: list[tuple[bool, int]] = []
    length = len(view)
    head = min(-offset % block, length)
    if head:
        _append(runs, not is_zero(view[:head]), head, shortest)
    tail = (length - head) % block
    _append_blocks(runs, view[head : length - tail], block, shortest)
    if tail:
        _append(runs, not is_zero(view[length - tail :]), tail, shortest)
    return runs


def _append_blocks(runs: list[tuple[bool, int]], view: memoryview, block: int, shortest: int) -> None:
    """Whole blocks. Only those that begin with zeroes are looked at; of most data there are none."""
    beginnings = view.cast("Q")[:: block // 8].tolist()
    at, count = 0, len(beginnings)
    while at < count:
        try:
            candidate = beginnings.index(0, at)
        except ValueError:
            candidate = count
        if candidate > at:
            _append(runs, True, (candidate - at) * block, shortest)
        at = candidate
        while at < count and not beginnings[at]:
            zeroes = _zero_bytes(view[at * block :]) // block
            if not zeroes:
                _append(runs, True, block, shortest)
                at += 1
            else:
                _append(runs, False, zeroes * block, shortest)
                at += zeroes


def _zero_bytes(view: memoryview) -> int:
    """Bytes before the first sector with data."""
    for start in range(0, len(view), _PIECE):
        part = view[start : start + _PIECE]
        if not is_zero(part[:SECTOR]):
            return start
        if not is_zero(part):
            return start + next(at for at in range(0, len(part), SECTOR) if not is_zero(part[at : at + SECTOR]))
    return len(view)


def _append(runs: list[tuple[bool, int]], is_data: bool, length: int, shortest: int) -> None:
    """Add a run to the one before it, when that is of its kind.

    Zeroes come before it is known whether data follow. When data do, and they were few, the three are one.
    """
    if runs and runs[-1][0] is is_data:
        length += runs.pop()[1]
    if is_data and len(runs) > 1 and runs[-1][1] < shortest:
        zeroes, data = runs.pop(), runs.pop()
        length += zeroes[1] + data[1]
    runs.append((is_data, length))
