# SPDX-License-Identifier: GPL-2.0-or-later
"""PostedQueue: posted writes in order, fences behind them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from asyncemu import coroutines
from asyncemu.loop import AioContext, PostedQueue
from asyncemu.loop.markers import WrongThread, enter_vcpu_thread, leave_vcpu_thread
from asyncemu.loop.posted import MAX_OUTSTANDING
from tests.loop.conftest import Countdown, InThread

pytestmark = pytest.mark.both_loops


class Rig:
    """A queue, and what its work has done."""

    def __init__(self, context: AioContext) -> None:
        self.context = context
        self.log: list[object] = []
        self.errors: list[BaseException] = []
        self.queue = PostedQueue(context, self._start, self.errors.append)

    def _start(self, body: Coroutine[Any, Any, Any], done: Callable[[], None]) -> bool:
        suspended = False

        def ended(coroutine: coroutines.Coroutine[Any]) -> None:
            if coroutine.error is not None:
                self.errors.append(coroutine.error)
            if suspended:
                done()

        suspended = not coroutines.start(self.context, body, ended).done()
        return not suspended

    def write(self, value: object) -> None:
        """Post a note of ``value``."""
        self.queue.post(partial(self.log.append, value))


@pytest.fixture
async def rig(context: AioContext) -> Rig:
    return Rig(context)


async def ended(function: Callable[[], object], start: InThread) -> Any:
    """The value of ``function()`` in a thread, awaited without holding the loop up."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Any] = loop.create_future()

    def run() -> None:
        value = function()
        loop.call_soon_threadsafe(result.set_result, value)

    start(run)
    return await result


async def test_post_does_it_in_a_later_round_in_order(rig: Rig) -> None:
    for number in range(5):
        rig.write(number)
    in_place = list(rig.log)
    await asyncio.sleep(0)

    assert (in_place, rig.log) == ([], [0, 1, 2, 3, 4])


async def test_post_from_the_work_itself_comes_behind(rig: Rig, in_vcpu_thread: InThread) -> None:
    rig.queue.post(lambda: rig.write("inner"))
    rig.write("outer")

    await ended(rig.queue.fence, in_vcpu_thread)
    await ended(rig.queue.fence, in_vcpu_thread)

    assert rig.log == ["outer", "inner"]


async def test_post_from_many_threads_keeps_each_thread_s_order(rig: Rig, in_thread: InThread) -> None:
    threads, items = 4, 500
    got: list[list[int]] = [[] for _ in range(threads)]
    all_done = Countdown(threads * items)

    def take(index: int, item: int) -> None:
        got[index].append(item)
        all_done.tick()

    def post(index: int) -> None:
        for item in range(items):
            rig.queue.post(partial(take, index, item))

    for index in range(threads):
        in_thread(partial(post, index))
    await all_done.done

    assert got == [list(range(items))] * threads


async def test_fence_all_posted_is_done_when_it_returns(rig: Rig, in_vcpu_thread: InThread) -> None:
    def vcpu() -> list[list[object]]:
        seen = []
        for number in range(200):
            rig.write(number)
            rig.queue.fence()
            seen.append(list(rig.log))
        return seen

    seen = await ended(vcpu, in_vcpu_thread)

    assert seen == [list(range(number + 1)) for number in range(200)]


async def test_fence_from_many_threads_at_once_each_sees_its_own_writes(rig: Rig, in_vcpu_thread: InThread) -> None:
    def vcpu(name: str) -> bool:
        seen = []
        for number in range(100):
            rig.write((name, number))
            rig.queue.fence()
            seen.append((name, number) in rig.log)
        return all(seen)

    results = await asyncio.gather(*(ended(partial(vcpu, name), in_vcpu_thread) for name in "abcd"))

    assert results == [True] * 4
    assert rig.queue.idle


async def test_fence_nothing_posted_returns_at_once(rig: Rig, as_vcpu_thread: None) -> None:
    rig.queue.fence()

    assert rig.queue.idle


async def test_fence_waits_for_work_that_suspends(rig: Rig, in_vcpu_thread: InThread) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def reset() -> None:
        begun.set_result(None)
        await gate
        rig.log.append("reset")

    def vcpu() -> list[object]:
        rig.queue.post(reset)
        rig.write("behind")
        rig.queue.fence()
        return list(rig.log)

    seen = asyncio.ensure_future(ended(vcpu, in_vcpu_thread))
    await begun
    while_it_waits = (list(rig.log), rig.queue.idle)
    gate.set_result(None)

    assert while_it_waits == ([], False)
    assert await seen == ["reset", "behind"]


async def test_post_coroutine_that_does_not_suspend_is_done_in_the_same_round(rig: Rig) -> None:
    async def quick(value: str) -> None:
        rig.log.append(value)

    for _ in range(3):
        rig.queue.post(lambda: quick("quick"))
        rig.write("plain")
    await asyncio.sleep(0)

    assert rig.log == ["quick", "plain"] * 3


async def test_post_very_many_coroutines_that_do_not_suspend_does_not_recurse(
    rig: Rig, in_vcpu_thread: InThread
) -> None:
    async def quick() -> None:
        rig.log.append("quick")

    for _ in range(5000):
        rig.queue.post(quick)
    await ended(rig.queue.fence, in_vcpu_thread)

    assert (len(rig.log), rig.errors) == (5000, [])


async def test_post_alternating_coroutines_that_suspend_keep_order(rig: Rig, in_vcpu_thread: InThread) -> None:
    async def slow(number: int) -> None:
        await asyncio.sleep(0)
        rig.log.append(number)

    for number in range(50):
        rig.queue.post(partial(slow, 2 * number))
        rig.write(2 * number + 1)
    await ended(rig.queue.fence, in_vcpu_thread)

    assert rig.log == list(range(100))


async def test_call_returns_the_value_behind_what_was_posted(rig: Rig, in_vcpu_thread: InThread) -> None:
    def vcpu() -> Any:
        rig.write(1)
        return rig.queue.call(lambda: (threading.get_ident(), list(rig.log)))

    assert await ended(vcpu, in_vcpu_thread) == (threading.get_ident(), [1])


async def test_call_coroutine_s_result_is_waited_for(rig: Rig, in_vcpu_thread: InThread) -> None:
    async def read() -> int:
        await asyncio.sleep(0)
        return 42

    assert await ended(lambda: rig.queue.call(read), in_vcpu_thread) == 42


async def raise_at_once(error: Exception) -> None:
    raise error


async def raise_later(error: Exception) -> None:
    await asyncio.sleep(0)
    raise error


@pytest.mark.parametrize("raise_it", [raise_at_once, raise_later])
async def test_call_coroutine_that_raises_gives_none(
    rig: Rig, in_vcpu_thread: InThread, raise_it: Callable[[Exception], Coroutine[Any, Any, None]]
) -> None:
    error = ValueError("broken")

    assert await ended(lambda: rig.queue.call(lambda: raise_it(error)), in_vcpu_thread) is None
    assert rig.errors == [error]


async def test_call_that_raises_gives_none_and_reports(rig: Rig, in_vcpu_thread: InThread) -> None:
    error = ValueError("broken")

    def read() -> int:
        raise error

    assert await ended(lambda: rig.queue.call(read), in_vcpu_thread) is None
    assert rig.errors == [error]


async def test_post_that_raises_is_reported_and_the_later_ones_are_done(rig: Rig, in_vcpu_thread: InThread) -> None:
    first, second = ValueError("plain"), ValueError("coroutine")

    def plain() -> None:
        raise first

    async def suspending() -> None:
        await asyncio.sleep(0)
        raise second

    rig.queue.post(plain)
    rig.write("between")
    rig.queue.post(suspending)
    rig.write("last")
    await ended(rig.queue.fence, in_vcpu_thread)

    assert (rig.log, rig.errors) == (["between", "last"], [first, second])


async def test_post_that_leaves_with_a_base_exception_does_not_block_the_later_ones(
    rig: Rig, in_vcpu_thread: InThread, reported: list[dict[str, Any]]
) -> None:
    def cancelled() -> None:
        raise asyncio.CancelledError

    rig.queue.post(cancelled)
    rig.write("later")
    await ended(rig.queue.fence, in_vcpu_thread)

    assert (rig.log, rig.queue.idle) == (["later"], True)
    assert len(reported) == 1


async def test_idle_only_when_all_is_done(rig: Rig) -> None:
    seen = [rig.queue.idle]
    rig.queue.post(lambda: seen.append(rig.queue.idle))
    seen.append(rig.queue.idle)
    await asyncio.sleep(0)
    seen.append(rig.queue.idle)

    assert seen == [True, False, False, True]


async def test_close_drops_what_has_not_begun(rig: Rig) -> None:
    rig.write("dropped")
    rig.queue.close()
    rig.write("too late")
    await asyncio.sleep(0)

    assert (rig.log, rig.queue.idle) == ([], True)


async def test_close_from_the_work_itself_drops_the_rest(rig: Rig) -> None:
    rig.queue.post(rig.queue.close)
    rig.write("dropped")
    await asyncio.sleep(0)

    assert (rig.log, rig.queue.idle) == ([], True)


async def test_close_releases_a_fence_behind_work_that_suspends(rig: Rig, in_vcpu_thread: InThread) -> None:
    gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def never_ends() -> None:
        begun.set_result(None)
        await gate

    def vcpu() -> Any:
        rig.queue.post(never_ends)
        return rig.queue.call(lambda: "unreachable")

    called = asyncio.ensure_future(ended(vcpu, in_vcpu_thread))
    await begun
    rig.queue.close()

    assert await called is None
    gate.set_result(None)


async def test_fence_closed_returns_at_once(rig: Rig, as_vcpu_thread: None) -> None:
    rig.queue.post(lambda: None)
    rig.queue.close()

    rig.queue.fence()

    assert rig.queue.idle


async def test_call_closed_gives_none_and_never_runs(rig: Rig, as_vcpu_thread: None) -> None:
    rig.queue.close()

    result = rig.queue.call(lambda: rig.log.append("ran"))
    await asyncio.sleep(0)

    assert (result, rig.log) == (None, [])


async def test_close_while_threads_fence_and_call_lets_all_go(rig: Rig, in_vcpu_thread: InThread) -> None:
    closed = threading.Event()
    running = Countdown(3)

    def vcpu() -> None:
        rig.queue.post(running.tick)
        while not closed.is_set():
            rig.write("write")
            rig.queue.fence()
            rig.queue.call(int)

    threads = [in_vcpu_thread(vcpu) for _ in range(3)]
    await running.done
    rig.queue.close()
    closed.set()
    for thread in threads:
        await asyncio.get_running_loop().run_in_executor(None, thread.join, 10)

    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("method", ["fence", "call"])
@pytest.mark.usefixtures("expected_violations")
async def test_waiting_at_home_is_the_wrong_thread(rig: Rig, method: str) -> None:
    with pytest.raises(WrongThread, match=f"PostedQueue.{method} is for vCPU threads"):
        getattr(rig.queue, method)()


@pytest.mark.usefixtures("expected_violations")
async def test_close_in_another_thread_is_the_wrong_thread(rig: Rig) -> None:
    with pytest.raises(WrongThread, match=r"PostedQueue.close belongs to <AioContext test>"):
        await asyncio.to_thread(rig.queue.close)


async def test_make_room_much_outstanding_waits_until_it_is_done(context: AioContext) -> None:
    queue = Rig(context).queue
    done: list[int] = []
    outstanding: list[int] = []

    def flood() -> None:
        enter_vcpu_thread()
        for number in range(10 * MAX_OUTSTANDING):
            queue.make_room()
            queue.post(partial(done.append, number))
            outstanding.append(number + 1 - len(done))
        leave_vcpu_thread()

    await asyncio.to_thread(flood)

    assert max(outstanding) <= MAX_OUTSTANDING


async def test_make_room_little_outstanding_does_not_wait(rig: Rig, as_vcpu_thread: None) -> None:
    for number in range(MAX_OUTSTANDING - 1):
        rig.write(number)

    rig.queue.make_room()

    assert rig.log == []


async def test_make_room_waits_so_that_no_more_than_so_many_are_outstanding(rig: Rig, in_vcpu_thread: InThread) -> None:
    outstanding: list[int] = []

    def vcpu() -> None:
        for number in range(10 * MAX_OUTSTANDING):
            rig.queue.make_room()
            rig.write(number)
            outstanding.append(number + 1 - len(rig.log))

    await ended(vcpu, in_vcpu_thread)
    await ended(rig.queue.fence, in_vcpu_thread)

    assert rig.log == list(range(10 * MAX_OUTSTANDING))
    assert max(outstanding) <= MAX_OUTSTANDING
