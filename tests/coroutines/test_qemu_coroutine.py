# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU's tests/unit/test-coroutine.c checks, by its names, of ours.

/perf/* is in benchmarks/. Two differences: a lock's waiter goes on in the next round here, not when the one who unlocks
yields; and a coroutine has a result, so "no dangling access" is about what an ended one keeps alive.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from asyncemu.coroutines import CoMutex, Coroutine, CoRwlock, co_yield, coroutine_self, in_coroutine, start
from asyncemu.loop import AioContext
from tests.coroutines.conftest import rounds

pytestmark = pytest.mark.both_loops


async def test_basic_in_coroutine(context: AioContext) -> None:
    seen: list[bool] = []

    async def body() -> None:
        seen.append(in_coroutine())

    seen.append(in_coroutine())
    start(context, body())

    assert seen == [False, True]


async def test_basic_self(context: AioContext) -> None:
    seen: list[object] = []

    async def body() -> None:
        seen.append(coroutine_self())

    coroutine = start(context, body())

    assert seen == [coroutine]


async def test_basic_entered(context: AioContext) -> None:
    seen: list[bool] = []

    async def inner(outer: Coroutine[Any]) -> None:
        this = coroutine_self()
        assert this is not None
        seen.extend([outer.entered(), this.entered()])
        await co_yield()
        seen.extend([outer.entered(), this.entered()])

    async def body() -> None:
        this = coroutine_self()
        assert this is not None
        second = Coroutine(context, inner(this))
        seen.append(second.entered())
        second.enter()
        seen.append(second.entered())
        second.enter()

    first = Coroutine(context, body())
    before = first.entered()
    first.enter()

    assert (before, first.entered()) == (False, False)
    assert seen == [False, True, True, False, True, True]


async def test_basic_lifecycle(context: AioContext) -> None:
    done: list[int] = []

    async def body(number: int) -> None:
        done.append(number)

    for number in range(2):
        Coroutine(context, body(number)).enter()

    assert done == [0, 1]


async def test_basic_nesting(context: AioContext) -> None:
    counts = {"entered": 0, "returned": 0}

    async def nest() -> None:
        counts["entered"] += 1
        if counts["entered"] < 128:
            start(context, nest())
        counts["returned"] += 1

    start(context, nest())

    assert counts == {"entered": 128, "returned": 128}


async def test_basic_yield(context: AioContext) -> None:
    async def body() -> None:
        for _ in range(5):
            await co_yield()

    coroutine = Coroutine(context, body())
    ended = [coroutine.enter() for _ in range(6)]

    assert ended == [False] * 5 + [True]


async def test_basic_order(context: AioContext) -> None:
    log: list[tuple[int, int, bool]] = []

    async def body() -> None:
        log.append((2, 1, in_coroutine()))
        await co_yield()
        log.append((2, 2, in_coroutine()))

    coroutine = Coroutine(context, body())
    log.append((1, 1, in_coroutine()))
    coroutine.enter()
    log.append((1, 2, in_coroutine()))
    coroutine.enter()
    log.append((1, 3, in_coroutine()))

    assert log == [(1, 1, False), (2, 1, True), (1, 2, False), (2, 2, True), (1, 3, False)]


async def test_basic_no_dangling_access(context: AioContext) -> None:
    """One that was entered by another, and outlives it, does not need it any more."""

    async def second_body() -> None:
        await co_yield()

    async def first_body(second: Coroutine[None]) -> None:
        second.enter()

    second = Coroutine(context, second_body())
    first = Coroutine(context, first_body(second))
    first.enter()
    gone = weakref.ref(first)
    del first
    gc.collect()

    assert gone() is None
    assert second.enter()


@pytest.mark.parametrize("by", ["lock", "with"])
async def test_locking_co_mutex(context: AioContext, by: str) -> None:
    """/locking/co-mutex, and /locking/co-mutex/lockable: what takes any lock there is ``async with`` here."""
    mutex = CoMutex()
    inside: list[str] = []
    done: list[str] = []

    async def by_lock(name: str) -> None:
        await mutex.lock()
        inside.append(name)
        await co_yield()
        inside.remove(name)
        mutex.unlock()
        done.append(name)

    async def by_with(name: str) -> None:
        async with mutex:
            inside.append(name)
            await co_yield()
            inside.remove(name)
        done.append(name)

    body = {"lock": by_lock, "with": by_with}[by]
    first, second = Coroutine(context, body("first")), Coroutine(context, body("second"))
    first.enter()
    second.enter()
    both_came = (list(inside), list(done))
    first.enter()
    await rounds(2)
    handed_over = (list(inside), list(done))
    second.enter()

    assert both_came == (["first"], [])
    assert handed_over == (["second"], ["first"])
    assert (inside, done, mutex.locked) == ([], ["first", "second"], False)


async def test_locking_co_rwlock_upgrade(context: AioContext) -> None:
    """A reader that wants to write queues up behind a writer, also when it is the only reader."""
    lock = CoRwlock()
    done: list[str] = []

    async def reads_then_writes() -> None:
        await lock.rdlock()
        await co_yield()
        await lock.upgrade()
        lock.unlock()
        done.append("upgraded")

    async def writes() -> None:
        await lock.wrlock()
        await co_yield()
        lock.unlock()
        done.append("wrote")

    first, second = Coroutine(context, reads_then_writes()), Coroutine(context, writes())
    first.enter()
    second.enter()
    first.enter()
    await rounds(2)
    before = list(done)
    second.enter()
    await rounds(2)

    assert before == []
    assert done == ["wrote", "upgraded"]


async def test_locking_co_rwlock_downgrade(context: AioContext) -> None:
    """With a reader inside come a writer, which will downgrade, a reader and a writer: nobody hangs."""
    lock = CoRwlock()
    done: list[str] = []

    async def reads() -> None:
        await lock.rdlock()
        await co_yield()
        lock.unlock()
        await co_yield()
        done.append("first reader")

    async def downgrades() -> None:
        await lock.wrlock()
        await lock.downgrade()
        lock.unlock()
        done.append("downgraded")

    async def locks(how: Any, name: str) -> None:
        async with how():
            done.append(name)

    first = Coroutine(context, reads())
    first.enter()
    for body in (downgrades(), locks(lock.reading, "second reader"), locks(lock.writing, "writer")):
        start(context, body)
    first.enter()
    await rounds(6)
    others = list(done)
    first.enter()

    assert others == ["downgraded", "second reader", "writer"]
    assert done[3:] == ["first reader"]
