# SPDX-License-Identifier: GPL-2.0-or-later
"""What a cache holds, and what is left of it without power."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.chaos.sectors import SECTOR, joined, pieces, survivors
from asyncemu.block.chaos.volatile_cache import VolatileCache, overlay
from asyncemu.memory.buffers import Buffers


def sector(value: int) -> bytes:
    return bytes([value]) * SECTOR


def test_pieces_end_at_sectors() -> None:
    assert list(pieces(500, 600)) == [(500, 512), (512, 1024), (1024, 1100)]
    assert list(pieces(512, 0)) == []


def test_joined_puts_neighbours_together_up_to_a_mebibyte() -> None:
    assert joined([(0, 512), (512, 1024), (2048, 2560)]) == [(0, 1024), (2048, 2560)]
    many = joined((start, start + SECTOR) for start in range(0, 3 << 20, SECTOR))
    assert many == [(0, 1 << 20), (1 << 20, 2 << 20), (2 << 20, 3 << 20)]


@given(st.integers(0, 1 << 30), st.integers(0, 2000), st.integers(1, 20000))
def test_survivors_are_some_sectors_and_never_all(seed: int, offset: int, length: int) -> None:
    kept = survivors(random.Random(seed), offset, length)
    allowed = set(pieces(offset, length))
    cut = {part for start, end in kept for part in pieces(start, end - start)}
    assert cut < allowed or (not cut and len(allowed) == 1)
    assert kept == sorted(kept)


def test_latest_is_the_last_version_in_a_range() -> None:
    cache = VolatileCache()
    cache.write(0, sector(1) + sector(2))
    cache.write(SECTOR, sector(3))
    assert cache.latest(0, SECTOR * 3) == {0: sector(1), 1: sector(3)}
    assert cache.latest(SECTOR, SECTOR) == {1: sector(3)}
    assert cache.nbytes == 3 * SECTOR


def test_overlay_goes_over_scattered_buffers() -> None:
    buffer = bytearray(4 * SECTOR)
    overlay(Buffers.of(memoryview(buffer)[:700], memoryview(buffer)[700:]), SECTOR, {2: sector(7), 4: sector(8)})
    assert buffer == bytes(SECTOR) + sector(7) + bytes(SECTOR) + sector(8)


def test_forget_keeps_versions_that_came_later() -> None:
    cache = VolatileCache()
    cache.write(0, sector(1) + sector(2))
    data, counts = cache.snapshot(0, 2 * SECTOR)
    cache.write(SECTOR, sector(3))
    cache.forget(0, counts)
    assert data == sector(1) + sector(2)
    assert cache.latest(0, 2 * SECTOR) == {1: sector(3)}
    assert (cache.runs(), cache.nbytes) == ([(SECTOR, 2 * SECTOR)], SECTOR)


def test_oldest_are_those_first_written_longest_ago() -> None:
    cache = VolatileCache()
    for number in (5, 3, 9, 3):
        cache.write(number * SECTOR, sector(number))
    assert cache.oldest(1) == [5]
    assert cache.oldest(3 * SECTOR) == [5, 3]
    assert cache.oldest(1 << 20) == [5, 3, 9]


def test_cut_forgets_what_is_behind_and_zeroes_the_rest_of_the_last_sector() -> None:
    cache = VolatileCache()
    cache.write(0, sector(1) + sector(2) + sector(3))
    cache.cut(SECTOR + 10)
    assert cache.latest(0, 3 * SECTOR) == {0: sector(1), 1: b"\2" * 10 + bytes(SECTOR - 10)}
    assert cache.nbytes == 2 * SECTOR


def test_lose_leaves_each_sector_one_of_its_versions_or_none() -> None:
    found: set[tuple[tuple[int, int], ...]] = set()
    for seed in range(200):
        cache = VolatileCache()
        cache.write(0, sector(1) + sector(2))
        cache.write(SECTOR, sector(3))
        kept = {
            (offset + start) // SECTOR: data[start]
            for offset, data in cache.lose(random.Random(seed))
            for start in range(0, len(data), SECTOR)
        }
        assert (cache.nbytes, cache.runs()) == (0, [])
        found.add(tuple(sorted(kept.items())))
    assert found == {
        (),
        ((0, 1),),
        ((1, 2),),
        ((1, 3),),
        ((0, 1), (1, 2)),
        ((0, 1), (1, 3)),
    }
