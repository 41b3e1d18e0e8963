# SPDX-License-Identifier: GPL-2.0-or-later
"""AdaptivePolling in real loops: work in memory is found, and nobody has rung."""

from __future__ import annotations

import asyncio
import mmap
import multiprocessing
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from asyncemu.loop import (
    AioContext,
    IOThread,
    IOThreadParameters,
    Pollable,
    current_context,
    polling,
)
from tests.loop.conftest import InThread
from tests.loop.pollable import NEVER, Work

MakePollingThread = Callable[[Pollable, int], Awaitable[IOThread]]


class Counter:
    """A number in memory that somebody else counts up, when it has been seen. Nobody rings."""

    rung_by_vcpu = False

    def __init__(self, memory: memoryview, goal: int, over: Callable[[], None]) -> None:
        self.memory = memory  # [0]: counted up by the other, [1]: what has been seen
        self.goal = goal
        self.over = over
        self.seen = 0

    def poll(self) -> bool:
        return self.memory[0] != self.seen

    def poll_ready(self) -> None:
        self.seen = self.memory[1] = self.memory[0]
        if self.seen == self.goal:
            self.over()


def count_up(memory: memoryview, goal: int) -> None:
    for number in range(1, goal + 1):
        memory[0] = number
        while memory[1] != number:
            pass


async def rung(iothread: IOThread) -> None:
    """Ring it, and return when it has heard that."""
    main = iothread.context
    heard: asyncio.Future[None] = main.loop.create_future()
    iothread.aio_context.schedule_oneshot(lambda: main.schedule_oneshot(lambda: heard.set_result(None)))
    await heard


@pytest.fixture
async def make_polling_thread(context: AioContext, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MakePollingThread]:
    """An IOThread that polls, for so long each time, whatever else the host does."""
    iothreads: list[IOThread] = []
    monkeypatch.setattr(polling, "CONTENDED", NEVER)

    async def make(pollable: Pollable, ns: int) -> IOThread:
        iothreads.append(iothread := IOThread(context, "io", IOThreadParameters(poll_max_ns=ns, poll_grow=ns)))
        await iothread.start()
        iothread.aio_context.schedule_oneshot(lambda: iothread.aio_context.add_pollable(pollable))
        while iothread.query()["statistics"]["poll_ns"] < ns:
            await rung(iothread)
        return iothread

    yield make
    for iothread in iothreads:
        await iothread.stop()


async def found_by_polling(
    make_polling_thread: MakePollingThread,
    memory: memoryview,
    goal: int,
    begin: Callable[[], object],
) -> tuple[int, int]:
    """How often an IOThread finds something by polling, and is rung, until the number is ``goal``."""
    found: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    main = current_context()
    assert main is not None
    counter = Counter(memory, goal, lambda: main.schedule_oneshot(lambda: found.set_result(None)))
    iothread = await make_polling_thread(counter, 60_000_000_000)
    before = iothread.query()["statistics"]
    begin()
    await found
    after = iothread.query()["statistics"]
    return after["poll_hits"] - before["poll_hits"], after["wakeups"] - before["wakeups"]


async def test_iothread_finds_what_another_thread_does_without_being_rung(
    make_polling_thread: MakePollingThread, in_thread: InThread
) -> None:
    memory = memoryview(bytearray(16)).cast("Q")

    found = await found_by_polling(make_polling_thread, memory, 10, lambda: in_thread(lambda: count_up(memory, 10)))

    assert found == (10, 0)


async def test_iothread_finds_what_another_process_does_without_being_rung(
    make_polling_thread: MakePollingThread,
) -> None:
    memory = memoryview(mmap.mmap(-1, 16)).cast("Q")
    child = multiprocessing.get_context("fork").Process(target=count_up, args=(memory, 100))

    found = await found_by_polling(make_polling_thread, memory, 100, child.start)
    child.join()

    assert found == (100, 0)


async def test_iothread_task_polls_once_between_steps_at_most(
    make_polling_thread: MakePollingThread,
) -> None:
    """A task of asyncio's is no callback of ours: its next step waits for one polling, and then for none."""
    iothread = await make_polling_thread(Work(finds_at=NEVER), 100_000)
    context = iothread.aio_context

    async def steps() -> int:
        before = context.statistics()["polls"]
        for _ in range(100):
            await asyncio.sleep(0)
        return context.statistics()["polls"] - before

    assert await context.call(steps) <= 1
