# SPDX-License-Identifier: GPL-2.0-or-later
"""SteppedSource: time stands still until somebody steps; what falls due runs at home, in order, wherever that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial

import pytest

from asyncemu.loop import AioContext, Clocks, ClockSource, IOThread, SteppedSource, Timer, current_context
from asyncemu.loop.markers import WrongThread
from tests.loop.conftest import InThread

pytestmark = pytest.mark.both_loops


@pytest.fixture
async def time(context: AioContext) -> SteppedSource:
    return SteppedSource(context, monotonic_ns=1000, wall_ns=5000)


@pytest.fixture
def clocks(time: SteppedSource) -> Clocks:
    return Clocks(time)


@pytest.fixture
async def iothread(context: AioContext) -> AsyncIterator[IOThread]:
    iothread = IOThread(context, "io")
    await iothread.start()
    yield iothread
    await iothread.stop()


class Fired:
    """Timers that note where and when they fire."""

    def __init__(self, clocks: Clocks) -> None:
        self._clock = clocks.realtime
        self.notes: list[tuple[str, int]] = []

    def timer(self, context: AioContext, then: Callable[[], object] = lambda: None) -> Timer:
        def fired() -> None:
            here = current_context()
            assert here is not None
            self.notes.append((here.name, self._clock.now()))
            then()

        return context.timer(self._clock, fired)


@pytest.fixture
def fired(clocks: Clocks) -> Fired:
    return Fired(clocks)


# ---- time


async def test_is_a_clock_source_that_stands_still(time: SteppedSource) -> None:
    source: ClockSource = time
    await asyncio.sleep(0)

    assert (source.monotonic_ns(), source.wall_ns(), source.follows_kernel) == (1000, 5000, False)


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        (lambda time: time.step(7), 1007),
        (lambda time: time.step(0), 1000),
        (lambda time: time.set(2000), 2000),
        (lambda time: time.set(1000), 1000),
        (lambda time: time.step_to_next_deadline(), 1000),
    ],
    ids=["step", "step 0", "set", "set to now", "no deadline"],
)
async def test_moves_and_says_where_to(
    time: SteppedSource, move: Callable[[SteppedSource], Awaitable[int]], expected: int
) -> None:
    answer = await move(time)

    assert (answer, time.monotonic_ns(), time.wall_ns()) == (expected, expected, expected + 4000)


async def test_step_back_is_an_error(time: SteppedSource) -> None:
    with pytest.raises(ValueError, match="a step of -1 ns"):
        await time.step(-1)

    assert time.monotonic_ns() == 1000


async def test_set_back_is_an_error(time: SteppedSource) -> None:
    with pytest.raises(ValueError, match="999 ns has passed: it is 1000 ns"):
        await time.set(999)

    assert time.monotonic_ns() == 1000


async def test_steps_at_the_same_time_are_done_one_after_the_other(
    context: AioContext, time: SteppedSource, fired: Fired
) -> None:
    for deadline in (1005, 1015):
        fired.timer(context).mod(deadline)

    answers = await asyncio.gather(time.step(10), time.step(10))

    assert [*answers, *fired.notes] == [1010, 1020, ("test", 1005), ("test", 1015)]


async def test_read_from_any_thread(time: SteppedSource, in_thread: InThread) -> None:
    seen: list[int] = []
    await time.step(5)

    in_thread(lambda: seen.append(time.monotonic_ns())).join()

    assert seen == [1005]


async def test_step_from_another_thread_is_refused(time: SteppedSource, expected_violations: list[str]) -> None:
    with pytest.raises(WrongThread, match=r"SteppedSource\.step belongs to"):
        await asyncio.to_thread(lambda: asyncio.run(time.step(1)))


# ---- timers of the main context


async def test_step_to_the_deadline_fires_and_not_a_nanosecond_before(
    context: AioContext, time: SteppedSource, fired: Fired
) -> None:
    fired.timer(context).mod(1010)

    await time.step(9)
    before = list(fired.notes)
    await time.step(1)

    assert (before, fired.notes) == ([], [("test", 1010)])


async def test_step_over_several_fires_in_the_order_of_deadlines_each_at_its_own(
    context: AioContext, time: SteppedSource, fired: Fired
) -> None:
    for deadline in (1030, 1010, 1020):
        fired.timer(context).mod(deadline)

    await time.step(100)

    assert fired.notes == [("test", 1010), ("test", 1020), ("test", 1030)]
    assert time.monotonic_ns() == 1100


async def test_step_fires_what_is_set_meanwhile(context: AioContext, time: SteppedSource, fired: Fired) -> None:
    periodic = fired.timer(context, lambda: periodic.mod(time.monotonic_ns() + 10))
    periodic.mod(1010)

    await time.step(35)

    assert [now for _, now in fired.notes] == [1010, 1020, 1030]


async def test_step_runs_the_bottom_halves_of_timers_before_time_goes_on(
    context: AioContext, time: SteppedSource, fired: Fired
) -> None:
    second = fired.timer(context)
    first = fired.timer(context, lambda: context.schedule_oneshot(lambda: second.mod(time.monotonic_ns() + 1)))
    first.mod(1010)

    await time.step(100)

    assert [now for _, now in fired.notes] == [1010, 1011]


async def test_step_to_next_deadline_goes_there_and_no_further(
    context: AioContext, time: SteppedSource, fired: Fired
) -> None:
    for deadline in (1010, 1010, 1020):
        fired.timer(context).mod(deadline)

    times = [await time.step_to_next_deadline() for _ in range(3)]

    assert (times, [now for _, now in fired.notes]) == ([1010, 1020, 1020], [1010, 1010, 1020])


async def test_step_to_next_deadline_that_has_passed_fires_now(
    context: AioContext, time: SteppedSource, fired: Fired
) -> None:
    fired.timer(context).mod(5)

    assert (await time.step_to_next_deadline(), fired.notes) == (1000, [("test", 1000)])


async def test_stopped_clock_does_not_fire(context: AioContext, time: SteppedSource, clocks: Clocks) -> None:
    notes: list[int] = []
    context.timer(clocks.virtual, lambda: notes.append(clocks.virtual.now())).mod(10)

    await time.step(100)
    stopped = (list(notes), await time.step_to_next_deadline())
    clocks.run_virtual(True)
    await time.step(10)

    assert (stopped, notes) == (([], 1100), [10])


async def test_host_clock_follows_set_wall(context: AioContext, time: SteppedSource, clocks: Clocks) -> None:
    notes: list[int] = []
    context.timer(clocks.host, lambda: notes.append(clocks.host.now())).mod(9000)

    time.set_wall(8999)
    await time.step(0)
    before = list(notes)
    await time.step(1)

    assert (before, notes) == ([], [9000])


async def test_timer_that_is_always_due_is_an_error(context: AioContext, time: SteppedSource, fired: Fired) -> None:
    greedy = fired.timer(context, lambda: greedy.mod(0))
    greedy.mod(1010)

    with pytest.raises(RuntimeError, match="timers have been due at 1010 ns 1001 times in a row"):
        await time.step(100)
    greedy.cancel()

    assert await time.step(5) == 1015


# ---- contexts elsewhere


async def test_iothread_s_timers_run_there(
    context: AioContext, iothread: IOThread, time: SteppedSource, fired: Fired
) -> None:
    fired.timer(iothread.aio_context).mod(1010)

    await time.step(100)

    assert fired.notes == [("io", 1010)]


async def test_two_homes_fire_in_the_order_of_deadlines(
    context: AioContext, iothread: IOThread, time: SteppedSource, fired: Fired
) -> None:
    for deadline in (1010, 1030, 1050):
        fired.timer(iothread.aio_context).mod(deadline)
    for deadline in (1020, 1040):
        fired.timer(context).mod(deadline)

    await time.step(100)

    assert fired.notes == [("io", 1010), ("test", 1020), ("io", 1030), ("test", 1040), ("io", 1050)]


async def test_two_homes_at_one_instant_fire_in_the_order_in_which_they_came(
    context: AioContext, iothread: IOThread, time: SteppedSource, fired: Fired
) -> None:
    for home in (iothread.aio_context, context, iothread.aio_context):
        fired.timer(home).mod(1010)

    await time.step(100)

    assert fired.notes == [("io", 1010), ("io", 1010), ("test", 1010)]


async def test_timer_of_one_home_set_by_another_s_fires_in_the_same_step(
    context: AioContext, iothread: IOThread, time: SteppedSource, fired: Fired
) -> None:
    here = fired.timer(context)
    there = fired.timer(iothread.aio_context, lambda: here.mod(1020))
    there.mod(1010)

    await time.step(100)

    assert fired.notes == [("io", 1010), ("test", 1020)]


async def test_iothread_s_bottom_halves_run_before_time_goes_on(
    iothread: IOThread, time: SteppedSource, fired: Fired
) -> None:
    home = iothread.aio_context
    second = fired.timer(home)
    fired.timer(home, lambda: home.schedule_oneshot(lambda: second.mod(1011))).mod(1010)

    await time.step(100)

    assert fired.notes == [("io", 1010), ("io", 1011)]


async def test_timer_that_moves_fires_in_its_new_home(
    context: AioContext, iothread: IOThread, time: SteppedSource, fired: Fired
) -> None:
    timer = fired.timer(context)
    timer.mod(1010)
    await time.step(5)

    timer.move(iothread.aio_context)
    await time.step(5)

    assert fired.notes == [("io", 1010)]


async def test_iothread_that_has_ended_is_left_out(context: AioContext, time: SteppedSource, fired: Fired) -> None:
    short = IOThread(context, "short")
    await short.start()
    fired.timer(short.aio_context).mod(1010)
    await short.stop()
    fired.timer(context).mod(1010)

    await time.step(100)

    assert fired.notes == [("test", 1010)]


async def test_iothread_that_ends_in_the_midst_of_a_step_is_left_out(
    context: AioContext, time: SteppedSource, fired: Fired
) -> None:
    short = IOThread(context, "short")
    await short.start()
    stopping: list[asyncio.Task[None]] = []
    fired.timer(context, lambda: stopping.append(asyncio.ensure_future(short.stop()))).mod(1010)
    for deadline in range(1011, 1090):
        fired.timer(short.aio_context).mod(deadline)
    fired.timer(context).mod(1090)

    answer = await time.step(100)
    await stopping[0]

    assert (answer, fired.notes[0], fired.notes[-1]) == (1100, ("test", 1010), ("test", 1090))


async def test_context_that_a_timer_closes_is_left_out(context: AioContext, time: SteppedSource) -> None:
    short = AioContext(asyncio.get_running_loop(), "short")
    clock = Clocks(time).realtime
    notes: list[str] = []
    short.timer(clock, short.close).mod(1010)
    short.timer(clock, lambda: notes.append("at the same time")).mod(1010)
    short.timer(clock, lambda: notes.append("later")).mod(1020)
    context.timer(clock, lambda: notes.append("another")).mod(1030)

    await time.step(100)

    assert notes == ["another"]


async def test_two_runs_are_the_same(context: AioContext) -> None:
    """Two IOThreads and the main context set each other's timers, and every run of it is the same."""

    async def run() -> list[tuple[str, int]]:
        time = SteppedSource(context)
        fired = Fired(Clocks(time))
        iothreads = [IOThread(context, f"io{number}") for number in range(2)]
        for iothread in iothreads:
            await iothread.start()
        homes = [context, *(iothread.aio_context for iothread in iothreads)]
        timers: list[Timer] = []

        def set_next(number: int) -> None:
            timers[(number + 1) % len(timers)].mod(time.monotonic_ns() + 3 + number)

        timers += [fired.timer(home, partial(set_next, number)) for number, home in enumerate(homes)]
        for number, timer in enumerate(timers):
            timer.mod(number)
        await time.step(200)
        for iothread in iothreads:
            await iothread.stop()
        return fired.notes

    first, second = await run(), await run()

    assert first == second
    assert len(first) > 100
