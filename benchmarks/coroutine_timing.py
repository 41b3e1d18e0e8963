# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutines and their mutex, in a bottom half as in a device; and what asyncio has for them, on its own loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Final, TypeVar

import uvloop

from asyncemu.coroutines import CoMutex, Coroutine, co_yield
from asyncemu.loop import AioContext
from benchmarks.goal import Goal
from benchmarks.loop_timing import BATCH
from benchmarks.qemu_unit_tests import CoroutineFigures
from benchmarks.rows import Row
from benchmarks.timing import WARM_UP, Timing, run_on, time_batches

ResultT = TypeVar("ResultT")

#: Operations of one sample: some 300 µs.
EACH: Final = 1000


@dataclass(frozen=True, slots=True)
class CoroutineTimings:
    """Of one run, each for one operation."""

    #: Make it, enter it, it returns at once. QEMU: /perf/lifecycle.
    lifecycle: Timing
    #: The same without making it.
    enter: Timing
    #: Enter it, it yields back: two switches. QEMU: /perf/yield.
    yield_cycle: Timing
    #: Make it, enter it, it yields, enter it again, it returns. QEMU: /perf/cost.
    cost: Timing
    #: ``await mutex.lock()``, ``mutex.unlock()``; nobody else wants it.
    mutex: Timing
    #: The same by ``async with``.
    mutex_with: Timing


async def _return() -> None:
    """The body of a coroutine that does not block."""


async def _yield_once() -> None:
    await co_yield()


def ours(batches: int) -> CoroutineTimings:
    """Of our Coroutine and CoMutex."""
    return _in_bottom_half(lambda context: _ours(context, batches))


def _ours(context: AioContext, batches: int) -> CoroutineTimings:
    def lifecycle() -> None:
        for _ in range(EACH):
            Coroutine(context, _return()).enter()

    def cost() -> None:
        for _ in range(EACH):
            coroutine = Coroutine(context, _yield_once())
            coroutine.enter()
            coroutine.enter()

    mutex = CoMutex()

    async def lock_and_unlock() -> None:
        for _ in range(EACH):
            await mutex.lock()
            mutex.unlock()

    async def with_mutex() -> None:
        for _ in range(EACH):
            async with mutex:
                pass

    def timed(operation: Callable[[], object]) -> Timing:
        return time_batches(operation, batches, EACH)

    return CoroutineTimings(
        timed(lifecycle),
        _enter(context, batches),
        _yield_cycle(context, batches),
        timed(cost),
        timed(lambda: Coroutine(context, lock_and_unlock()).enter()),
        timed(lambda: Coroutine(context, with_mutex()).enter()),
    )


def _enter(context: AioContext, batches: int) -> Timing:
    samples = []
    for _ in range(WARM_UP + batches):
        made = [Coroutine(context, _return()) for _ in range(EACH)]
        start = perf_counter_ns()
        for coroutine in made:
            coroutine.enter()
        samples.append(perf_counter_ns() - start)
    return Timing.of(samples[WARM_UP:], EACH)


def _yield_cycle(context: AioContext, batches: int) -> Timing:
    more = True

    async def body() -> None:
        while more:
            await co_yield()

    coroutine = Coroutine(context, body())
    coroutine.enter()

    def cycles() -> None:
        for _ in range(EACH):
            coroutine.enter()

    timing = time_batches(cycles, batches, EACH)
    more = False
    coroutine.enter()
    return timing


def _in_bottom_half(work: Callable[[AioContext], ResultT]) -> ResultT:
    async def body(loop: asyncio.AbstractEventLoop) -> ResultT:
        context = AioContext(loop, "benchmark")
        done: asyncio.Future[ResultT] = loop.create_future()

        def run() -> None:
            try:
                done.set_result(work(context))
            except Exception as error:
                done.set_exception(error)

        try:
            context.bh_new(run).schedule()
            return await done
        finally:
            context.close()

    return run_on(uvloop.new_event_loop, body)


@dataclass(frozen=True, slots=True)
class AsyncioTimings:
    """Of one run, each for one operation, on plain asyncio."""

    #: Make a Task in a batch of BATCH, it returns at once.
    task: Timing
    #: ``await asyncio.sleep(0)`` of a Task that is alone.
    sleep_0: Timing
    #: ``await lock.acquire()``, ``lock.release()``; nobody else wants it.
    lock: Timing
    #: The same by ``async with``.
    lock_with: Timing


def asyncios(batches: int) -> AsyncioTimings:
    """Of asyncio's Task and Lock."""

    async def body(loop: asyncio.AbstractEventLoop) -> AsyncioTimings:
        lock = asyncio.Lock()

        async def tasks() -> None:
            # They run in the order in which they are made, so the last one is awaited.
            made = [loop.create_task(_return()) for _ in range(BATCH)]
            await made[-1]

        async def sleep_0() -> None:
            for _ in range(EACH):
                await asyncio.sleep(0)

        async def lock_and_unlock() -> None:
            for _ in range(EACH):
                await lock.acquire()
                lock.release()

        async def with_lock() -> None:
            for _ in range(EACH):
                async with lock:
                    pass

        return AsyncioTimings(
            await _timed(tasks, batches, BATCH),
            await _timed(sleep_0, batches, EACH),
            await _timed(lock_and_unlock, batches, EACH),
            await _timed(with_lock, batches, EACH),
        )

    return run_on(asyncio.new_event_loop, body)


async def _timed(operation: Callable[[], Awaitable[None]], batches: int, each: int) -> Timing:
    samples = []
    for _ in range(WARM_UP + batches):
        start = perf_counter_ns()
        await operation()
        samples.append(perf_counter_ns() - start)
    return Timing.of(samples[WARM_UP:], each)


# ---- in the benchmark


@dataclass(frozen=True, slots=True)
class CoroutineRound:
    """All sides, once."""

    ours: CoroutineTimings
    asyncio: AsyncioTimings
    qemu: CoroutineFigures


def measure(batches: int, qemu: Callable[[], CoroutineFigures]) -> CoroutineRound:
    """One round."""
    return CoroutineRound(ours(batches), asyncios(batches), qemu())


_CREATE: Final = "coroutine create+enter+finish"
_SWITCH: Final = "coroutine enter+yield, there and back"
_MUTEX: Final = "CoMutex lock+unlock, uncontended"
ROWS: Final = (
    Row(f"{_CREATE} / QEMU /perf/lifecycle", "ours.lifecycle.median", "qemu.lifecycle", Goal(0.35, absolute=True)),
    Row(f"{_CREATE}, p99", "ours.lifecycle.p99"),
    Row(f"{_CREATE} / asyncio Task, {BATCH} at once", "ours.lifecycle.median", "asyncio.task.median"),
    Row("coroutine enter+finish, created before", "ours.enter.median"),
    Row(f"{_SWITCH} / QEMU /perf/yield", "ours.yield_cycle.median", "qemu.yield_cycle", Goal(0.25, absolute=True)),
    Row(f"{_SWITCH}, p99", "ours.yield_cycle.p99"),
    Row(f"{_SWITCH} / asyncio sleep(0)", "ours.yield_cycle.median", "asyncio.sleep_0.median"),
    Row("coroutine create+enter+yield+enter+finish / QEMU /perf/cost", "ours.cost.median", "qemu.cost"),
    Row(f"{_MUTEX} / asyncio Lock", "ours.mutex.median", "asyncio.lock.median", Goal(0.2, absolute=True)),
    Row(f"{_MUTEX}, p99 / asyncio Lock", "ours.mutex.p99", "asyncio.lock.p99"),
    Row("async with CoMutex, uncontended / asyncio Lock", "ours.mutex_with.median", "asyncio.lock_with.median"),
)
