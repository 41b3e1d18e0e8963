# SPDX-License-Identifier: GPL-2.0-or-later
"""TableCache: a bound on tables, one read for all who wait, and nothing changed is lost."""

from __future__ import annotations

import asyncio
from array import array
from typing import Any, cast

import pytest

from asyncemu.block.child import BlockChild
from asyncemu.block.qcow2.table_cache import TableCache
from asyncemu.block.qcow2.words import WordCodec

SIZE = 64


class File:
    """Tables whose words are their offset; ``gate`` holds reads up."""

    debugged = False

    def __init__(self) -> None:
        self.reads: list[int] = []
        self.gate: asyncio.Event | None = None
        self.error: Exception | None = None

    async def pread(self, offset: int, length: int) -> bytearray:
        self.reads.append(offset)
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return bytearray(offset.to_bytes(8, "big") * (length // 8))


class Cache:
    """A cache of four tables, and what it asks for."""

    def __init__(self, capacity: int = 4) -> None:
        self.file = File()
        self.written = 0
        self.cache: TableCache[array[int]] = TableCache(
            cast(BlockChild, self.file), WordCodec(SIZE), capacity, "l2_load", self._write
        )

    async def _write(self) -> None:
        self.written += 1
        for table in self.cache.changed_tables():
            table.changed_start = table.changed_end = 0


async def test_load_twice_reads_once() -> None:
    made = Cache()
    first = await made.cache.load(128)
    second = await made.cache.load(128)

    assert first is second
    assert list(first.payload) == [128] * 8
    assert made.file.reads == [128]


async def test_load_by_several_at_once_reads_once() -> None:
    made = Cache()
    made.file.gate = asyncio.Event()
    loads = [asyncio.ensure_future(made.cache.load(128)) for _ in range(5)]
    await asyncio.sleep(0)
    made.file.gate.set()

    tables = await asyncio.gather(*loads)

    assert len({id(table) for table in tables}) == 1
    assert made.file.reads == [128]


async def test_load_that_fails_is_tried_again_by_those_who_waited() -> None:
    made = Cache()
    made.file.gate = asyncio.Event()
    made.file.error = OSError(5, "injected")
    loads = [asyncio.ensure_future(made.cache.load(128)) for _ in range(2)]
    await asyncio.sleep(0)
    made.file.gate.set()

    results = await asyncio.gather(*loads, return_exceptions=True)

    assert all(isinstance(result, OSError) for result in results)
    made.file.error = None
    assert (await made.cache.load(128)).payload[0] == 128


async def test_load_cancelled_leaves_the_others_waiting_for_a_table() -> None:
    made = Cache()
    made.file.gate = asyncio.Event()
    first, second = (asyncio.ensure_future(made.cache.load(128)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    made.file.gate.set()

    assert (await second).payload[0] == 128
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_load_of_more_than_the_capacity_gives_up_those_not_used() -> None:
    made = Cache()
    for offset in range(0, 40 * SIZE, SIZE):
        await made.cache.load(offset)
        await made.cache.load(0)

    assert len(made.cache.tables) == 4
    assert 0 in made.cache.tables
    assert made.file.reads.count(0) == 1


async def test_load_where_all_have_changed_writes_them_first() -> None:
    made = Cache()
    for offset in range(0, 4 * SIZE, SIZE):
        (await made.cache.load(offset)).mark(0, 8)

    await made.cache.load(4 * SIZE)

    assert made.written == 1
    assert len(made.cache.tables) == 4


async def test_table_being_written_is_not_given_up() -> None:
    made = Cache(capacity=2)
    table = await made.cache.load(0)
    table.writing = True
    for offset in range(SIZE, 6 * SIZE, SIZE):
        await made.cache.load(offset)

    assert made.cache.tables[0] is table


async def test_put_while_a_read_is_under_way_wins_over_it() -> None:
    made = Cache()
    made.file.gate = asyncio.Event()
    load = asyncio.ensure_future(made.cache.load(128))
    await asyncio.sleep(0)
    new = made.cache.put(128, array("Q", [7] * 8))
    made.file.gate.set()

    assert await load is new


async def test_forget_while_a_read_is_under_way_reads_again() -> None:
    made = Cache()
    made.file.gate = asyncio.Event()
    load = asyncio.ensure_future(made.cache.load(128))
    await asyncio.sleep(0)
    made.cache.forget(0, 1024)
    made.file.gate.set()
    await load

    assert made.file.reads == [128, 128]


async def test_forget_of_a_large_area_forgets_what_is_in_it() -> None:
    made = Cache()
    for offset in (0, SIZE, 1 << 30):
        await made.cache.load(offset)

    made.cache.forget(0, 1 << 20)

    assert list(made.cache.tables) == [1 << 30]


async def test_marks_of_a_table_join() -> None:
    made = Cache()
    table = await made.cache.load(0)
    table.mark(16, 24)
    table.mark(8, 16)
    table.mark(40, 48)

    assert (table.changed_start, table.changed_end) == (8, 48)


async def test_create_is_a_table_of_zeroes_that_has_changed() -> None:
    made = Cache()
    table = await made.cache.create(128)

    assert list(table.payload) == [0] * 8
    assert (table.changed_start, table.changed_end) == (0, SIZE)
    assert made.file.reads == []


def test_word_codec_packs_a_part() -> None:
    codec = WordCodec(SIZE)
    words: Any = codec.unpack(bytes(range(64)))

    assert codec.pack(words, 8, 24) == bytes(range(8, 24))
