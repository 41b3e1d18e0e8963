# SPDX-License-Identifier: GPL-2.0-or-later
"""BottomHalf: once, in the next round, from any thread."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from asyncemu.loop import AioContext
from asyncemu.loop.bottom_half_queue import IDLE_DELAY
from tests.loop.conftest import Countdown, InThread

pytestmark = pytest.mark.both_loops


async def rounds(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_schedule_twice_runs_once(context: AioContext) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append("ran"))

    bottom_half.schedule()
    bottom_half.schedule()
    await rounds(3)

    assert calls == ["ran"]


async def test_schedule_does_not_run_in_place(context: AioContext) -> None:
    calls: list[str] = []
    context.bh_new(lambda: calls.append("ran")).schedule()

    assert calls == []


async def test_schedule_several_run_in_order(context: AioContext) -> None:
    calls: list[int] = []
    for number in range(5):
        context.bh_new(partial(calls.append, number), str(number)).schedule()
    await rounds(1)

    assert calls == [0, 1, 2, 3, 4]


async def test_schedule_itself_runs_in_the_next_round(context: AioContext) -> None:
    calls: list[str] = []

    def callback() -> None:
        calls.append("ran")
        bottom_half.schedule()

    bottom_half = context.bh_new(callback)
    bottom_half.schedule()
    counts = []
    for _ in range(3):
        await rounds(1)
        counts.append(len(calls))
    bottom_half.delete()

    assert counts == [1, 2, 3]


async def test_schedule_another_from_a_bottom_half_runs_in_the_next_round(context: AioContext) -> None:
    calls: list[str] = []
    second = context.bh_new(lambda: calls.append("second"))
    context.bh_new(second.schedule).schedule()

    await rounds(1)
    before = list(calls)
    await rounds(1)

    assert (before, calls) == ([], ["second"])


async def test_pending_is_true_from_schedule_to_callback(context: AioContext) -> None:
    seen: list[bool] = []
    bottom_half = context.bh_new(lambda: seen.append(bottom_half.pending))

    seen.append(bottom_half.pending)
    bottom_half.schedule()
    seen.append(bottom_half.pending)
    await rounds(1)

    assert seen == [False, True, False]


async def test_cancel_scheduled_does_not_run(context: AioContext) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append("ran"))

    bottom_half.schedule()
    bottom_half.cancel()
    await rounds(3)

    assert calls == []


async def test_cancel_and_schedule_again_runs_once(context: AioContext) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append("ran"))

    for _ in range(3):
        bottom_half.schedule()
        bottom_half.cancel()
    bottom_half.schedule()
    await rounds(3)

    assert calls == ["ran"]


async def test_cancel_and_schedule_again_of_one_that_schedules_itself_runs_once_a_round(context: AioContext) -> None:
    calls: list[str] = []

    def callback() -> None:
        calls.append("ran")
        bottom_half.schedule()

    bottom_half = context.bh_new(callback)
    bottom_half.schedule()
    bottom_half.cancel()
    bottom_half.schedule()
    await rounds(4)
    bottom_half.delete()

    assert len(calls) == 4


async def test_cancel_from_its_own_callback_takes_back_what_it_scheduled(context: AioContext) -> None:
    calls: list[str] = []

    def callback() -> None:
        calls.append("ran")
        bottom_half.schedule()
        bottom_half.cancel()

    bottom_half = context.bh_new(callback)
    bottom_half.schedule()
    await rounds(3)

    assert calls == ["ran"]


async def test_delete_from_its_own_callback_is_final(context: AioContext) -> None:
    calls: list[str] = []

    def callback() -> None:
        calls.append("ran")
        bottom_half.delete()
        bottom_half.schedule()
        bottom_half.schedule_idle()

    bottom_half = context.bh_new(callback)
    bottom_half.schedule()
    await rounds(3)

    assert (calls, bottom_half.pending) == (["ran"], False)


async def test_delete_scheduled_does_not_run(context: AioContext) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append("ran"))

    bottom_half.schedule()
    bottom_half.delete()
    await rounds(3)

    assert calls == []


async def test_schedule_from_another_thread_runs_at_home(context: AioContext, in_thread: InThread) -> None:
    ran_in: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    bottom_half = context.bh_new(lambda: ran_in.set_result(threading.get_ident()))

    in_thread(bottom_half.schedule)

    assert await ran_in == threading.get_ident()


async def test_schedule_from_another_thread_twice_runs_once(context: AioContext, in_thread: InThread) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append("ran"))

    def schedule() -> None:
        bottom_half.schedule()
        bottom_half.schedule()

    in_thread(schedule).join()
    heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    in_thread(lambda: context.schedule_oneshot(lambda: heard.set_result(None)))
    await heard

    assert calls == ["ran"]


async def test_schedule_from_many_threads_never_loses_a_wake_up(context: AioContext, in_thread: InThread) -> None:
    """Each thread hands over a number of items one by one, each time after the last one has been taken."""
    threads, items = 4, 500
    taken = [0] * threads
    all_taken = Countdown(threads * items)

    def make_thread(index: int) -> None:
        heard = threading.Semaphore(0)

        def callback() -> None:
            taken[index] += 1
            all_taken.tick()
            heard.release()

        bottom_half = context.bh_new(callback)

        def hand_over() -> None:
            for _ in range(items):
                bottom_half.schedule()
                assert heard.acquire(timeout=10)

        in_thread(hand_over)

    for index in range(threads):
        make_thread(index)
    await all_taken.done

    assert taken == [items] * threads


async def test_oneshot_burst_from_many_threads_all_run_in_each_thread_s_order(
    context: AioContext, in_thread: InThread
) -> None:
    threads, items = 4, 2000
    got: list[list[int]] = [[] for _ in range(threads)]
    all_got = Countdown(threads * items)

    def take(index: int, item: int) -> None:
        got[index].append(item)
        all_got.tick()

    def enqueue(index: int) -> None:
        for item in range(items):
            context.schedule_oneshot(partial(take, index, item))

    for index in range(threads):
        in_thread(partial(enqueue, index))
    await all_got.done

    assert got == [list(range(items))] * threads


async def test_oneshot_from_another_thread_that_never_stops_leaves_the_loop_its_turns(
    context: AioContext, in_thread: InThread
) -> None:
    stop = threading.Event()
    ran: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def flood() -> None:
        ring = context.bh_new(lambda: None)
        while not stop.is_set():
            ring.schedule()

    in_thread(flood)
    asyncio.get_running_loop().call_later(0.001, lambda: ran.set_result(None))
    await ran
    stop.set()


async def test_idle_runs_with_the_next_round_behind_the_others(context: AioContext) -> None:
    calls: list[str] = []

    context.bh_new(lambda: calls.append("idle")).schedule_idle()
    context.bh_new(lambda: calls.append("other")).schedule()
    await rounds(1)

    assert calls == ["other", "idle"]


async def test_idle_alone_asks_for_no_round(context: AioContext) -> None:
    calls: list[str] = []

    context.bh_new(lambda: calls.append("idle")).schedule_idle()
    await rounds(3)

    assert calls == []


async def test_idle_alone_asks_the_loop_for_ten_milliseconds_at_most(
    context: AioContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays: list[float] = []

    def call_later(delay: float, callback: Any, *args: Any) -> asyncio.TimerHandle:
        delays.append(delay)
        return asyncio.get_running_loop().call_later(0, callback, *args)

    ran: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with monkeypatch.context() as patched:
        patched.setattr(context, "loop", type("Loop", (), {"call_later": staticmethod(call_later)}))
        context.bh_new(lambda: ran.set_result(None)).schedule_idle()
    await ran

    assert delays == [IDLE_DELAY]
    assert IDLE_DELAY <= 0.010


async def test_idle_from_another_thread_runs_at_home(context: AioContext, in_thread: InThread) -> None:
    ran_in: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    bottom_half = context.bh_new(lambda: ran_in.set_result(threading.get_ident()))

    in_thread(bottom_half.schedule_idle)

    assert await ran_in == threading.get_ident()


async def test_idle_then_schedule_runs_in_the_next_round_and_once(context: AioContext) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append("ran"))
    later: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    bottom_half.schedule_idle()
    bottom_half.schedule()
    await rounds(1)
    at_once = list(calls)
    context.bh_new(lambda: later.set_result(None)).schedule_idle()
    await later

    assert (at_once, calls) == (["ran"], ["ran"])


async def test_idle_cancelled_then_scheduled_runs_in_the_next_round(context: AioContext) -> None:
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append("ran"))

    bottom_half.schedule_idle()
    bottom_half.cancel()
    bottom_half.schedule()
    await rounds(1)

    assert calls == ["ran"]


async def test_exception_from_home_is_reported_and_the_others_run(
    context: AioContext, reported: list[dict[str, Any]]
) -> None:
    calls: list[str] = []
    error = ValueError("broken")

    def broken() -> None:
        raise error

    context.bh_new(broken).schedule()
    context.bh_new(lambda: calls.append("ran")).schedule()
    await rounds(2)

    assert calls == ["ran"]
    assert [each["exception"] for each in reported] == [error]


async def test_exception_from_another_thread_is_reported_and_the_others_run(
    context: AioContext, reported: list[dict[str, Any]], in_thread: InThread
) -> None:
    ran: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    error = ValueError("broken")

    def broken() -> None:
        raise error

    def schedule() -> None:
        context.bh_new(broken).schedule()
        context.bh_new(lambda: ran.set_result(None)).schedule()

    in_thread(schedule)
    await ran

    assert [(each["message"], each["exception"]) for each in reported] == [("bottom half of test", error)]


async def test_exception_bottom_half_runs_again_when_scheduled_again(
    context: AioContext, reported: list[dict[str, Any]]
) -> None:
    def broken() -> None:
        raise ValueError("broken")

    bottom_half = context.bh_new(broken)
    for _ in range(2):
        bottom_half.schedule()
        await rounds(1)

    assert len(reported) == 2


async def test_cancelled_error_from_another_thread_leaves_the_others_to_run(
    context: AioContext, reported: list[dict[str, Any]], in_thread: InThread
) -> None:
    """Not an Exception, so it leaves the listener at once; what is behind it must not be forgotten."""
    ran: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def cancelled() -> None:
        raise asyncio.CancelledError

    def schedule() -> None:
        context.schedule_oneshot(cancelled)
        context.schedule_oneshot(lambda: ran.set_result(None))

    in_thread(schedule).join()
    await ran

    assert [type(each["exception"]) for each in reported] == [asyncio.CancelledError]


async def test_name_is_the_callback_s_unless_given(context: AioContext) -> None:
    def refill() -> None: ...

    assert repr(context.bh_new(refill)).endswith("refill of test>")
    assert repr(context.bh_new(refill, "rx")) == "<BottomHalf rx of test>"


async def test_oneshot_after_close_from_another_thread_is_dropped(in_thread: InThread) -> None:
    context = AioContext(asyncio.get_running_loop(), "short")
    context.close()
    calls: list[str] = []

    in_thread(lambda: context.schedule_oneshot(lambda: calls.append("ran"))).join()
    await rounds(3)

    assert calls == []
