# SPDX-License-Identifier: GPL-2.0-or-later
"""CoRwlock: readers together, writers alone, everybody in the order of arrival."""

from __future__ import annotations

import asyncio

import pytest

from asyncemu.coroutines import Coroutine, CoRwlock, co_yield, start
from asyncemu.loop import AioContext
from tests.coroutines.conftest import Contexts, ends, rounds

pytestmark = pytest.mark.both_loops


class Visitors:
    """Coroutines that lock, say so, and unlock when told to."""

    def __init__(self, context: AioContext) -> None:
        self.lock = CoRwlock()
        self.context = context
        self.inside: list[str] = []

    def come(self, name: str) -> Coroutine[None]:
        """A reader, or, in capitals, a writer."""
        return start(self.context, self._body(name))

    async def _body(self, name: str) -> None:
        async with self.lock.writing() if name.isupper() else self.lock.reading():
            self.inside.append(name)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.inside.remove(name)

    async def leave(self, visitor: Coroutine[None]) -> list[str]:
        """Who is inside then."""
        visitor.cancel()
        await rounds(4)
        return list(self.inside)


async def test_readers_are_inside_together(context: AioContext) -> None:
    visitors = Visitors(context)

    readers = [visitors.come(name) for name in "abc"]

    assert visitors.inside == ["a", "b", "c"]
    assert [await visitors.leave(reader) for reader in readers] == [["b", "c"], ["c"], []]


async def test_reader_behind_a_waiting_writer_waits(context: AioContext) -> None:
    visitors = Visitors(context)

    first, writer, last = (visitors.come(name) for name in "aBc")
    seen = [list(visitors.inside)]
    seen.extend([await visitors.leave(each) for each in (first, writer, last)])

    assert seen == [["a"], ["B"], ["c"], []]


async def test_readers_behind_a_writer_come_in_together(context: AioContext) -> None:
    visitors = Visitors(context)

    all_of_them = [visitors.come(name) for name in "AbcDe"]
    seen = [list(visitors.inside)]
    seen.extend([await visitors.leave(each) for each in all_of_them])

    assert seen == [["A"], ["b", "c"], ["c"], ["D"], ["e"], []]


async def test_cancel_waiting_writer_lets_the_readers_behind_it_in(context: AioContext) -> None:
    visitors = Visitors(context)
    first, writer, last = (visitors.come(name) for name in "aBc")

    seen = [await visitors.leave(each) for each in (writer, first, last)]

    assert seen == [["a", "c"], ["c"], []]


async def test_cancel_admitted_and_not_gone_on_leaves(context: AioContext) -> None:
    visitors = Visitors(context)
    first, second, third = (visitors.come(name) for name in "ABC")

    first.cancel()
    await rounds(1)  # the second is chosen
    second.cancel()
    await rounds(4)

    assert visitors.inside == ["C"]
    assert await visitors.leave(third) == []


async def test_unlock_free_is_refused(context: AioContext) -> None:
    with pytest.raises(RuntimeError, match="a CoRwlock is unlocked that is not locked"):
        CoRwlock().unlock()


async def test_upgrade_without_reader_is_refused(context: AioContext) -> None:
    with pytest.raises(RuntimeError, match="a CoRwlock is upgraded that has no reader"):
        await CoRwlock().upgrade()


async def test_downgrade_without_writer_is_refused(context: AioContext) -> None:
    lock = CoRwlock()
    await lock.rdlock()

    with pytest.raises(RuntimeError, match="a CoRwlock is downgraded that has no writer"):
        await lock.downgrade()


async def test_upgrade_alone_is_in_place(context: AioContext) -> None:
    lock = CoRwlock()
    log: list[str] = []

    async def reads() -> None:
        async with lock.reading():
            log.append("reader")

    async def body() -> None:
        async with lock.reading():
            await lock.upgrade()
            log.append("upgraded")
            await co_yield()

    upgraded = start(context, body())
    reader = start(context, reads())
    await rounds(2)
    before = list(log)
    upgraded.enter()
    await reader

    assert (before, log) == (["upgraded"], ["upgraded", "reader"])


async def test_upgrade_of_two_readers_both_write_one_after_the_other(context: AioContext) -> None:
    lock = CoRwlock()
    inside: list[int] = []
    most: list[int] = []

    async def body() -> None:
        async with lock.reading():
            await asyncio.sleep(0)
            await lock.upgrade()
            inside.append(1)
            await asyncio.sleep(0)
            most.append(len(inside))
            inside.pop()

    await ends([start(context, body()) for _ in range(2)])

    assert most == [1, 1]


async def test_cancel_upgrade_waiting_is_a_reader_again(context: AioContext) -> None:
    lock = CoRwlock()
    log: list[str] = []

    async def upgrades() -> None:
        async with lock.reading():
            await co_yield()
            try:
                await lock.upgrade()
            except asyncio.CancelledError:
                log.append("reader again")
                await co_yield()
                log.append("leaves")

    async def writes(name: str) -> None:
        async with lock.writing():
            log.append(name)
            await co_yield()

    upgrader = start(context, upgrades())
    writer = start(context, writes("writer"))
    upgrader.enter()
    await rounds(2)
    upgrader.cancel()
    upgrader.cancel()
    await rounds(2)
    upgrader.cancel()
    last = start(context, writes("last"))
    await rounds(2)
    before = list(log)
    writer.enter()
    await rounds(4)
    upgrader.enter()
    await rounds(4)
    last.enter()

    assert before == ["writer"]
    assert log == ["writer", "reader again", "leaves", "last"]
    assert [each.done() for each in (upgrader, writer, last)] == [True] * 3


async def test_cancel_upgrade_that_was_let_in_is_a_reader_again(context: AioContext) -> None:
    lock = CoRwlock()

    async def upgrades() -> str:
        async with lock.reading():
            try:
                await lock.upgrade()
            except asyncio.CancelledError:
                return "cancelled"
        return "unreachable"

    async def reads() -> None:
        await lock.rdlock()

    await reads()
    upgrader = start(context, upgrades())
    lock.unlock()  # the upgrader is chosen
    upgrader.cancel()

    assert await upgrader == "cancelled"
    await lock.wrlock()


async def test_downgrade_lets_the_next_readers_in_and_no_others(context: AioContext) -> None:
    lock = CoRwlock()
    log: list[str] = []

    async def body(name: str) -> None:
        async with lock.writing() if name.isupper() else lock.reading():
            log.append(name)

    await lock.wrlock()
    coroutines = [start(context, body(name)) for name in "abCd"]
    await lock.downgrade()
    await rounds(4)
    before = list(log)
    lock.unlock()
    await ends(coroutines)

    assert (before, log) == (["a", "b"], ["a", "b", "C", "d"])


async def test_lock_in_tasks_works_as_well(context: AioContext) -> None:
    lock = CoRwlock()
    log: list[str] = []

    async def body(name: str) -> None:
        async with lock.writing():
            await asyncio.sleep(0)
            log.append(name)

    await asyncio.gather(*[body(name) for name in "abc"])

    assert log == ["a", "b", "c"]


async def test_writers_over_contexts_exclude_everybody(context: AioContext, threads: Contexts) -> None:
    lock = CoRwlock()
    inside: list[str] = []
    wrong: list[list[str]] = []
    counter = 0

    async def body(number: int) -> None:
        nonlocal counter
        for step in range(200):
            kind = "W" if (step + number) % 3 == 0 else "r"
            async with lock.writing() if kind == "W" else lock.reading():
                inside.append(kind)
                if "W" in inside and len(inside) > 1:
                    wrong.append(list(inside))
                if kind == "W":
                    before = counter
                    if step % 2:
                        await asyncio.sleep(0)
                    counter = before + 1
                inside.remove(kind)

    contexts = [context, *await threads(2)]
    coroutines = [Coroutine(each, body(number)) for number, each in enumerate(contexts * 2)]
    for coroutine in coroutines:
        coroutine.schedule(coroutine.context)
    await ends(coroutines)

    assert wrong == []
    assert counter == sum((step + number) % 3 == 0 for step in range(200) for number in range(6))
