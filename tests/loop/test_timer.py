# SPDX-License-Identifier: GPL-2.0-or-later
"""Timer: never early, in order, from any thread; and that it stops with its clock."""

from __future__ import annotations

import asyncio
import random
import select
from functools import partial
from typing import Any

import pytest

from asyncemu.loop import AioContext, Clock, Clocks, ClockSource
from asyncemu.loop.timer import STALE_ALLOWED
from asyncemu.loop.timerfd import TimerFd
from asyncemu.testing.fake_clock import FakeClock
from tests.loop.conftest import Countdown, InThread

MICROSECOND = 1_000
MILLISECOND = 1_000_000
HOUR = 3600 * 1_000_000_000


@pytest.fixture
def time() -> FakeClock:
    return FakeClock(monotonic_ns=10 * HOUR, wall_ns=100 * HOUR)


@pytest.fixture
def clocks(time: FakeClock) -> Clocks:
    return Clocks(time)


# ---- on the kernel's clock


@pytest.mark.both_loops
@pytest.mark.parametrize("kind", ["realtime", "host", "virtual", "virtual_rt"])
async def test_mod_many_random_deadlines_none_fires_early(context: AioContext, kind: str) -> None:
    clocks = Clocks()
    clocks.run_virtual(True)
    clock: Clock = getattr(clocks, kind)
    randomness = random.Random(kind)
    late: list[int] = []
    all_fired = Countdown(200)

    def fired(deadline: int) -> None:
        late.append(clock.now() - deadline)
        all_fired.tick()

    for _ in range(200):
        deadline = clock.now() + randomness.randrange(20 * MILLISECOND)
        context.timer(clock, partial(fired, deadline)).mod(deadline)
    await all_fired.done

    assert min(late) >= 0


@pytest.mark.both_loops
async def test_mod_chain_of_deadlines_below_a_millisecond_keeps_them(context: AioContext) -> None:
    """uvloop's own timers would take a millisecond each."""
    clock = Clocks().realtime
    steps = Countdown(100)
    late: list[int] = []
    due = 0

    def fired() -> None:
        late.append(clock.now() - due)
        again()

    def again() -> None:
        nonlocal due
        due = clock.now() + 100 * MICROSECOND
        timer.mod(due)
        steps.tick()

    timer = context.timer(clock, fired)
    again()
    await steps.done

    assert min(late) >= 0
    assert sorted(late)[len(late) // 4] < 800 * MICROSECOND


@pytest.mark.both_loops
async def test_mod_earlier_from_another_thread_wakes_the_sleeping_loop(
    context: AioContext, in_thread: InThread
) -> None:
    clock = Clocks().realtime
    fired: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    timer = context.timer(clock, lambda: fired.set_result(clock.now()))
    timer.mod(clock.now() + HOUR)
    deadline = clock.now() + MILLISECOND

    in_thread(lambda: timer.mod(deadline))

    assert await fired >= deadline


@pytest.mark.both_loops
async def test_mod_from_many_threads_every_timer_fires(context: AioContext, in_thread: InThread) -> None:
    clock = Clocks().realtime
    threads, timers = 4, 100
    all_fired = Countdown(threads * timers)

    def set_timers(seed: int) -> None:
        randomness = random.Random(seed)
        for _ in range(timers):
            timer = context.timer(clock, all_fired.tick)
            timer.mod(clock.now() + HOUR)
            timer.mod(clock.now() + randomness.randrange(2 * MILLISECOND))

    for seed in range(threads):
        in_thread(partial(set_timers, seed))
    await all_fired.done

    assert context.next_deadline() is None


async def test_mod_in_the_past_fires_in_a_later_round(context: AioContext) -> None:
    clock = Clocks().realtime
    fired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = context.timer(clock, lambda: fired.set_result(None))

    timer.mod(clock.now() - HOUR)
    in_place = fired.done()
    await fired

    assert not in_place


async def test_mod_later_and_later_fires_once_at_the_last(context: AioContext) -> None:
    clock = Clocks().realtime
    fired: list[int] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    timer = context.timer(clock, lambda: fired.append(clock.now()))
    start = clock.now()
    for microseconds in range(0, 2000, 100):
        timer.mod(start + microseconds * MICROSECOND)
    last = context.timer(clock, lambda: ended.set_result(None))
    last.mod(start + 2 * MILLISECOND)
    await ended

    assert [each >= start + 1900 * MICROSECOND for each in fired] == [True]


async def test_mod_beyond_all_time_is_taken_and_does_not_disturb_the_others(context: AioContext) -> None:
    clock = Clocks().realtime
    fired: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for deadline in (1 << 63, 1 << 64, 1 << 100):
        context.timer(clock, lambda: None).mod(deadline)
        context.run_timers()
    context.timer(clock, lambda: fired.set_result(None)).mod(clock.now() + MILLISECOND)

    await fired


async def test_virtual_stopped_fires_after_it_goes_on(context: AioContext) -> None:
    clocks = Clocks()
    fired: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    context.timer(clocks.virtual, lambda: fired.set_result(clocks.virtual.now())).mod(MILLISECOND)
    stopped = context.next_deadline()

    clocks.run_virtual(True)

    assert stopped is None
    assert await fired >= MILLISECOND


@pytest.mark.parametrize("deadline", [-HOUR, 0, 1])
async def test_timerfd_past_is_readable(deadline: int) -> None:
    timer = TimerFd()

    timer.arm(deadline)
    readable, _, _ = select.select([timer.fd], [], [], 10)
    timer.close()

    assert readable


async def test_timerfd_disarmed_is_not_readable() -> None:
    timer = TimerFd()

    timer.arm(1)
    timer.disarm()
    readable, _, _ = select.select([timer.fd], [], [], 0)
    timer.acknowledge()
    timer.close()

    assert not readable


# ---- on a clock that stands still


async def test_advance_to_the_deadline_fires_and_not_a_nanosecond_before(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[int] = []
    timer = context.timer(clocks.realtime, lambda: fired.append(clocks.realtime.now()))
    deadline = clocks.realtime.now() + 1000

    timer.mod(deadline)
    time.advance(999)
    before = list(fired)
    time.advance(1)

    assert (before, fired) == ([], [deadline])


async def test_timers_same_deadline_fire_in_the_order_of_setting(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []
    deadline = clocks.realtime.now() + 5
    first, second, third = (context.timer(clocks.realtime, partial(fired.append, name)) for name in ("1", "2", "3"))

    second.mod(deadline)
    third.mod(deadline)
    first.mod(deadline)
    third.mod(deadline)
    time.advance(5)

    assert fired == ["2", "1", "3"]


async def test_timers_fire_in_the_order_of_deadlines(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[int] = []
    now = clocks.realtime.now()
    for delay in (30, 10, 20):
        context.timer(clocks.realtime, partial(fired.append, delay)).mod(now + delay)

    time.advance(30)

    assert fired == [10, 20, 30]


async def test_mod_same_deadline_twice_fires_once(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[str] = []
    timer = context.timer(clocks.realtime, lambda: fired.append("fired"))

    timer.mod(clocks.realtime.now() + 5)
    timer.mod(clocks.realtime.now() + 5)
    time.advance(10)

    assert fired == ["fired"]


async def test_mod_later_does_not_fire_at_the_old_deadline(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[int] = []
    now = clocks.realtime.now()
    timer = context.timer(clocks.realtime, lambda: fired.append(clocks.realtime.now() - now))

    timer.mod(now + 5)
    timer.mod(now + 9)
    time.advance(20)

    assert fired == [9]


@pytest.mark.parametrize(("first", "second", "expected"), [(5, 9, 5), (9, 5, 5), (5, 5, 5)])
async def test_mod_anticipate_never_later(
    context: AioContext, clocks: Clocks, first: int, second: int, expected: int
) -> None:
    timer = context.timer(clocks.realtime, lambda: None)

    timer.mod_anticipate(first)
    timer.mod_anticipate(second)

    assert timer.deadline == expected


async def test_mod_anticipate_after_it_has_fired_sets_it(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    timer = context.timer(clocks.realtime, lambda: None)
    timer.mod(clocks.realtime.now())
    time.advance(0)

    timer.mod_anticipate(clocks.realtime.now() + 7)

    assert timer.deadline == clocks.realtime.now() + 7


async def test_cancel_does_not_fire(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[str] = []
    timer = context.timer(clocks.realtime, lambda: fired.append("fired"))

    timer.mod(clocks.realtime.now() + 5)
    timer.cancel()
    timer.cancel()
    time.advance(10)

    assert (fired, timer.pending) == ([], False)


async def test_cancel_and_mod_to_the_same_deadline_fires_once(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []
    timer = context.timer(clocks.realtime, lambda: fired.append("fired"))
    deadline = clocks.realtime.now() + 5

    timer.mod(deadline)
    timer.cancel()
    timer.mod(deadline)
    time.advance(5)

    assert fired == ["fired"]


async def test_cancel_from_the_callback_of_another_due_at_once_is_final(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []
    deadline = clocks.realtime.now() + 5
    first = context.timer(clocks.realtime, lambda: second.cancel())
    second = context.timer(clocks.realtime, lambda: fired.append("second"))

    first.mod(deadline)
    second.mod(deadline)
    time.advance(5)

    assert fired == []


async def test_mod_from_the_callback_of_another_due_at_once_moves_it(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[int] = []
    now = clocks.realtime.now()
    first = context.timer(clocks.realtime, lambda: second.mod(now + 8))
    second = context.timer(clocks.realtime, lambda: fired.append(clocks.realtime.now() - now))

    first.mod(now + 5)
    second.mod(now + 5)
    time.advance(20)

    assert fired == [8]


async def test_pending_from_mod_to_the_callback(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    seen: list[bool] = []
    timer = context.timer(clocks.realtime, lambda: seen.append(timer.pending))

    seen.append(timer.pending)
    timer.mod(clocks.realtime.now() + 1)
    seen.append(timer.pending)
    time.advance(1)

    assert seen == [False, True, False]


async def test_rearm_from_its_callback_is_periodic(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[int] = []
    start = clocks.realtime.now()

    def callback() -> None:
        fired.append(clocks.realtime.now() - start)
        timer.mod(clocks.realtime.now() + 10)

    timer = context.timer(clocks.realtime, callback)
    timer.mod(start + 10)
    time.advance(45)

    assert fired == [10, 20, 30, 40]


async def test_rearm_for_the_past_lets_the_others_run_first(context: AioContext) -> None:
    clock = Clocks().realtime
    order: list[str] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def greedy() -> None:
        order.append("greedy")
        greedy_timer.mod(0)

    def other() -> None:
        greedy_timer.cancel()
        ended.set_result(None)

    greedy_timer = context.timer(clock, greedy)
    greedy_timer.mod(0)
    context.timer(clock, other).mod(1)
    await ended

    assert order == ["greedy"]


async def test_callback_raises_is_reported_and_the_others_fire(
    context: AioContext, time: FakeClock, clocks: Clocks, reported: list[dict[str, Any]]
) -> None:
    fired: list[str] = []
    deadline = clocks.realtime.now() + 5
    error = ValueError("broken")

    def broken() -> None:
        raise error

    context.timer(clocks.realtime, broken).mod(deadline)
    context.timer(clocks.realtime, lambda: fired.append("fired")).mod(deadline)
    time.advance(5)

    assert fired == ["fired"]
    assert [(each["message"], each["exception"]) for each in reported] == [("timer callback of test", error)]


async def test_callback_raises_on_the_kernel_s_clock_later_timers_fire(
    context: AioContext, reported: list[dict[str, Any]]
) -> None:
    clock = Clocks().realtime
    fired: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def broken() -> None:
        raise ValueError("broken")

    context.timer(clock, broken).mod(clock.now())
    context.timer(clock, lambda: fired.set_result(None)).mod(clock.now() + MILLISECOND)
    await fired

    assert len(reported) == 1


async def test_mod_ever_again_far_ahead_keeps_the_heap_small(context: AioContext, clocks: Clocks) -> None:
    """A guest sets its timer as often as it likes, while a nearer one keeps the stale entries from the top."""
    near, *timers = [context.timer(clocks.realtime, lambda: None) for _ in range(4)]
    near.mod(1)
    for number in range(10_000):
        timers[number % 3].mod(HOUR + number)
    [timer_list] = context.timers._lists.values()
    length = len(timer_list._heap)
    near.cancel()

    assert length <= 2 * 4 + STALE_ALLOWED
    assert timer_list.next_deadline() == HOUR + 9_997


async def test_cancel_ever_again_keeps_the_heap_small(context: AioContext, clocks: Clocks) -> None:
    near, timer = [context.timer(clocks.realtime, lambda: None) for _ in range(2)]
    near.mod(1)
    for number in range(10_000):
        timer.mod(HOUR + number)
        timer.cancel()
    [timer_list] = context.timers._lists.values()

    assert len(timer_list._heap) <= 2 * 2 + STALE_ALLOWED


async def test_virtual_stopped_keeps_its_deadline(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[int] = []
    clocks.run_virtual(True)
    timer = context.timer(clocks.virtual, lambda: fired.append(clocks.virtual.now()))
    timer.mod(100)

    time.advance(60)
    clocks.run_virtual(False)
    time.advance(HOUR)
    while_stopped = (list(fired), timer.deadline, clocks.virtual.now())
    clocks.run_virtual(True)
    time.advance(39)
    before = list(fired)
    time.advance(1)

    assert while_stopped == ([], 100, 60)
    assert (before, fired) == ([], [100])


async def test_two_clocks_stop_independently(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[str] = []
    context.timer(clocks.virtual, lambda: fired.append("virtual")).mod(clocks.virtual.now() + 5)
    context.timer(clocks.realtime, lambda: fired.append("realtime")).mod(clocks.realtime.now() + 10)

    time.advance(10)
    clocks.run_virtual(True)
    time.advance(5)

    assert fired == ["realtime", "virtual"]


async def test_two_sources_in_one_context_do_not_move_each_other(context: AioContext, time: FakeClock) -> None:
    fake, real = Clocks(time).realtime, Clocks().realtime
    fired: list[str] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    context.timer(fake, lambda: fired.append("fake")).mod(fake.now() + 1)
    context.timer(real, lambda: ended.set_result(None)).mod(real.now() + 100 * MICROSECOND)

    await ended
    before = list(fired)
    time.advance(1)

    assert (before, fired) == ([], ["fake"])


async def test_host_set_back_timer_waits_for_its_time_of_day(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[int] = []
    context.timer(clocks.host, lambda: fired.append(clocks.host.now())).mod(100 * HOUR + 10)

    time.set_wall(100 * HOUR - 10)
    time.advance(19)
    before = list(fired)
    time.advance(1)

    assert (before, fired) == ([], [100 * HOUR + 10])


async def test_host_set_forward_timer_fires(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    fired: list[int] = []
    context.timer(clocks.host, lambda: fired.append(clocks.host.now())).mod(100 * HOUR + 10)

    time.set_wall(200 * HOUR)
    time.advance(0)

    assert fired == [200 * HOUR]


async def test_timer_of_a_stopped_clock_set_in_its_past_fires_when_it_goes_on(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []
    context.timer(clocks.virtual, lambda: fired.append("fired")).mod(0)

    time.advance(5)
    before = list(fired)
    clocks.run_virtual(True)
    time.advance(0)

    assert (before, fired) == ([], ["fired"])


async def test_callback_makes_the_first_timer_of_another_clock(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    fired: list[str] = []
    clocks.run_virtual(True)

    def first() -> None:
        context.timer(clocks.virtual, lambda: fired.append("virtual")).mod(0)

    context.timer(clocks.realtime, first).mod(clocks.realtime.now())
    time.advance(0)

    assert fired == ["virtual"]


async def test_mod_after_close_is_ignored() -> None:
    context = AioContext(asyncio.get_running_loop(), "short")
    timer = context.timer(Clocks().realtime, lambda: None)
    timer.mod(1 << 62)
    timer_fd = context.timers._timer_fd
    context.close()

    timer.mod(1)

    assert timer_fd is not None
    assert timer_fd.fd == -1


async def test_timer_fd_is_made_for_the_first_deadline(context: AioContext) -> None:
    timer = context.timer(Clocks().realtime, lambda: None)
    before = context.timers._timer_fd

    timer.mod(1 << 62)

    assert (before, context.timers._timer_fd is None) == (None, False)


async def test_first_deadline_that_another_thread_sets_is_kept(context: AioContext) -> None:
    fired = asyncio.Event()
    timer = context.timer(Clocks().realtime, fired.set)

    await asyncio.to_thread(timer.mod, 1)

    await asyncio.wait_for(fired.wait(), 10)


# ---- callbacks that end the loop, and looking


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
async def test_callback_that_ends_the_loop_leaves_the_others_their_deadlines(
    context: AioContext, time: FakeClock, clocks: Clocks, interruption: type[BaseException]
) -> None:
    fired: list[str] = []

    def interrupt() -> None:
        raise interruption

    context.timer(clocks.realtime, interrupt).mod(0)
    second = context.timer(clocks.realtime, lambda: fired.append("second"))
    second.mod(0)
    with pytest.raises(interruption):
        context.run_timers()
    before = (list(fired), second.pending)
    context.run_timers()

    assert (before, fired) == (([], True), ["second"])


def test_callback_that_ends_the_loop_on_the_kernel_s_clock_later_timers_fire() -> None:
    loop = asyncio.new_event_loop()
    context = AioContext(loop, "interrupted")
    clock = Clocks().realtime
    fired: list[str] = []

    def interrupt() -> None:
        raise KeyboardInterrupt

    def last() -> None:
        fired.append("last")
        loop.stop()

    context.timer(clock, interrupt).mod(0)
    context.timer(clock, last).mod(1)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_forever()
    context.close()
    loop.close()

    assert fired == ["last"]


async def test_callback_raises_cancelled_error_is_reported_and_the_others_fire(
    context: AioContext, time: FakeClock, clocks: Clocks, reported: list[dict[str, Any]]
) -> None:
    fired: list[str] = []

    def cancelled() -> None:
        raise asyncio.CancelledError

    context.timer(clocks.realtime, cancelled).mod(0)
    context.timer(clocks.realtime, lambda: fired.append("fired")).mod(0)
    time.advance(0)

    assert (fired, [type(each["exception"]) for each in reported]) == (["fired"], [asyncio.CancelledError])


async def test_expired_is_set_and_due(context: AioContext, clocks: Clocks) -> None:
    timer = context.timer(clocks.realtime, lambda: None)

    before = timer.expired(HOUR)
    timer.mod(5)

    assert (before, timer.expired(4), timer.expired(5), timer.expired(6)) == (False, False, True, True)


async def test_expired_cancelled_or_fired_is_not(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    timers = [context.timer(clocks.realtime, lambda: None) for _ in range(2)]
    for timer in timers:
        timer.mod(5)

    timers[0].cancel()
    time.advance(0)

    assert [timer.expired(HOUR) for timer in timers] == [False, False]


async def test_close_timers_of_a_clock_moved_by_hand_do_not_fire(time: FakeClock, clocks: Clocks) -> None:
    context = AioContext(asyncio.get_running_loop(), "short")
    fired: list[str] = []
    context.timer(clocks.realtime, lambda: fired.append("fired")).mod(time.monotonic_ns() + 1)

    context.close()
    time.advance(1)

    assert fired == []


async def test_timer_first_of_its_clock_from_many_threads_is_in_one_list(
    context: AioContext, in_thread: InThread
) -> None:
    clock = Clocks().realtime
    lists: list[object] = []
    threads = [in_thread(lambda: lists.append(context.timer(clock, int).timers)) for _ in range(8)]
    for thread in threads:
        thread.join()

    assert len(set(lists)) == 1
    assert clock._lists == lists[:1]


def test_fake_clock_is_a_clock_source() -> None:
    source: ClockSource = FakeClock(monotonic_ns=3, wall_ns=5)

    assert (source.monotonic_ns(), source.wall_ns()) == (3, 5)
