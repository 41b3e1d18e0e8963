# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU's tests/unit/test-aio-multithread.c checks, by its names, with IOThreads of ours.

/aio/multi/mutex/mcs and /aio/multi/mutex/pthread run the same loop over a futex queue and over a pthread mutex, to
compare CoMutex's speed with theirs. A thread that blocks in them blocks a whole event loop, which the rules of this
project forbid, so there is nothing of ours to run; benchmarks/ compares CoMutex with asyncio.Lock.
QEMU's tests run for so many seconds; these for so many steps.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

import pytest

from asyncemu.coroutines import CoMutex, Coroutine, co_yield, coroutine_self
from asyncemu.loop import AioContext, current_context
from tests.coroutines.conftest import Contexts, ends, in_context

CONTEXTS = 5


async def test_multi_lifecycle(threads: Contexts) -> None:
    contexts = await threads(CONTEXTS)

    idents = [await in_context(each, threading.get_ident) for each in contexts]

    assert len({*idents, threading.get_ident()}) == CONTEXTS + 1


async def test_multi_schedule(threads: Contexts) -> None:
    """Each parks itself, and schedules one that is parked: another, in whichever thread that is at home, or itself."""
    contexts = await threads(CONTEXTS)
    homes = contexts * 3
    parked: dict[int, Coroutine[None]] = {}
    counts: Counter[str] = Counter()

    def schedule(number: int) -> bool:
        coroutine = parked.pop(number, None)
        if coroutine is not None:
            counts["here" if current_context() is homes[number] else "other"] += 1
            coroutine.schedule(homes[number])
        return coroutine is not None

    async def body(number: int) -> None:
        dice = random.Random(number)
        this = coroutine_self()
        assert this is not None
        while counts.total() < 3000:
            assert current_context() is homes[number]
            parked[number] = this
            # From here on others may schedule it: it is about to yield.
            while not schedule(dice.randrange(len(homes))):
                pass
            await co_yield()
            assert parked.get(number) is not this
        # The last one to come here finds all that are still parked.
        for other in list(parked):
            schedule(other)

    coroutines = [Coroutine(home, body(number)) for number, home in enumerate(homes)]
    parked.update(enumerate(coroutines))
    for number in range(CONTEXTS):
        schedule(number)
    await ends(coroutines)

    assert counts["here"] > 100
    assert counts["other"] > 1000


@pytest.mark.parametrize("count", [pytest.param(CONTEXTS, id="contended"), pytest.param(2, id="handoff")])
async def test_multi_mutex(threads: Contexts, count: int) -> None:
    """Five threads are mostly in the queue; two mostly hand the mutex over as it is let go."""
    contexts = await threads(count)
    mutex = CoMutex()
    counter = 0
    each = 1000

    async def body() -> None:
        nonlocal counter
        for _ in range(each):
            await mutex.lock()
            before = counter
            counter = before + 1
            mutex.unlock()

    coroutines = [Coroutine(context, body()) for context in contexts]
    for coroutine in coroutines:
        coroutine.schedule(coroutine.context)
    await ends(coroutines)

    assert (counter, mutex.locked) == (count * each, False)


async def test_multi_mutex_several_a_context(context: AioContext, threads: Contexts) -> None:
    contexts = [context, *await threads(2)]
    mutex = CoMutex()
    inside: list[int] = []
    most: list[int] = []

    async def body() -> None:
        for _ in range(100):
            async with mutex:
                inside.append(1)
                most.append(len(inside))
                await asyncio.sleep(0)
                inside.pop()

    coroutines = [Coroutine(each, body()) for each in contexts for _ in range(4)]
    for coroutine in coroutines:
        coroutine.schedule(coroutine.context)
    await ends(coroutines)

    assert (len(most), max(most)) == (1200, 1)
