# SPDX-License-Identifier: GPL-2.0-or-later
"""co_sleep_ns, CoSleep and co_timeout, on a clock that the tests move."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from asyncemu.coroutines import CoSleep, co_sleep_ns, co_timeout, reschedule_self, start
from asyncemu.loop import AioContext, Clocks
from asyncemu.testing.fake_clock import FakeClock
from tests.coroutines.conftest import Contexts, rounds, settled

pytestmark = pytest.mark.both_loops

MS = 1_000_000


@pytest.fixture
def time() -> FakeClock:
    return FakeClock()


@pytest.fixture
def clocks(time: FakeClock) -> Clocks:
    return Clocks(time)


# ---- sleep


async def test_co_sleep_ns_returns_at_the_deadline_and_not_before(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    coroutine = start(context, co_sleep_ns(clocks.realtime, MS))

    time.advance(MS - 1)
    await rounds(2)
    before = coroutine.done()
    time.advance(1)
    await rounds(2)

    assert (before, coroutine.done()) == (False, True)


async def test_co_sleep_ns_in_a_task_works_as_well(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    task = asyncio.ensure_future(co_sleep_ns(clocks.realtime, MS))
    await rounds(1)

    time.advance(MS)

    await task


async def test_co_sleep_ns_sleeps_on_while_its_clock_is_stopped(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    coroutine = start(context, co_sleep_ns(clocks.virtual, MS))

    time.advance(10 * MS)
    await rounds(2)
    before = coroutine.done()
    clocks.run_virtual(True)
    time.advance(MS)
    await rounds(2)

    assert (before, coroutine.done()) == (False, True)


async def test_co_sleep_ns_cancelled_leaves_no_timer(context: AioContext, clocks: Clocks) -> None:
    coroutine = start(context, co_sleep_ns(clocks.realtime, MS))

    coroutine.cancel()
    await rounds(2)

    assert isinstance(coroutine.error, asyncio.CancelledError)
    assert context.next_deadline(clocks.source) is None


async def test_wake_ends_the_sleep_and_its_timer(context: AioContext, clocks: Clocks) -> None:
    sleep = CoSleep()
    coroutine = start(context, sleep.sleep_ns(clocks.realtime, MS))

    sleep.wake()
    sleep.wake()
    await coroutine

    assert context.next_deadline(clocks.source) is None


async def test_wake_from_another_thread_ends_the_sleep(context: AioContext, clocks: Clocks) -> None:
    sleep = CoSleep()
    coroutine = start(context, sleep.sleep_ns(clocks.realtime, MS))

    await asyncio.to_thread(sleep.wake)

    await coroutine


async def test_wake_when_nobody_sleeps_does_not_shorten_the_next_sleep(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    sleep = CoSleep()

    sleep.wake()
    coroutine = start(context, sleep.sleep_ns(clocks.realtime, MS))
    await rounds(3)
    before = coroutine.done()
    time.advance(MS)
    await coroutine

    assert not before


async def test_sleep_ns_twice_at_a_time_is_refused(context: AioContext, clocks: Clocks) -> None:
    sleep = CoSleep()
    coroutine = start(context, sleep.sleep_ns(clocks.realtime, MS))

    with pytest.raises(RuntimeError, match="a CoSleep has one sleeper at a time"):
        await sleep.sleep_ns(clocks.realtime, MS)
    sleep.wake()
    await coroutine


async def test_co_sleep_ns_without_a_context_is_refused(clocks: Clocks) -> None:
    with pytest.raises(RuntimeError, match="only a thread with an AioContext has timers"):
        await co_sleep_ns(clocks.realtime, MS)


# ---- timeout


class Entry:
    """Ends when the test says so."""

    def __init__(self) -> None:
        self.gate: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.cleaned: list[str] = []

    async def __call__(self) -> str:
        return await self.gate


async def test_co_timeout_in_place_returns_the_result(context: AioContext, clocks: Clocks) -> None:
    cleaned: list[str] = []

    async def entry() -> str:
        return "result"

    assert await co_timeout(entry, MS, clocks.realtime, cleaned.append) == "result"
    assert (cleaned, context.next_deadline(clocks.source)) == ([], None)


async def test_co_timeout_in_time_returns_the_result(context: AioContext, clocks: Clocks) -> None:
    entry = Entry()
    coroutine = start(context, co_timeout(entry, MS, clocks.realtime, entry.cleaned.append))

    entry.gate.set_result("result")

    assert await coroutine == "result"
    assert entry.cleaned == []


async def test_co_timeout_in_time_raises_the_error(context: AioContext, clocks: Clocks) -> None:
    entry = Entry()
    coroutine = start(context, co_timeout(entry, MS, clocks.realtime, entry.cleaned.append))

    entry.gate.set_exception(ValueError("broken"))

    with pytest.raises(ValueError, match="broken"):
        await coroutine


async def test_co_timeout_late_raises_at_once_and_cleans_at_the_end(
    context: AioContext, time: FakeClock, clocks: Clocks
) -> None:
    entry = Entry()
    coroutine = start(context, co_timeout(entry, MS, clocks.realtime, entry.cleaned.append))

    time.advance(MS)
    with pytest.raises(TimeoutError, match=r"Entry\.__call__ takes longer than 1000000 ns"):
        await coroutine
    before = list(entry.cleaned)
    entry.gate.set_result("result")
    await rounds(2)

    assert (before, entry.cleaned) == ([], ["result"])


async def test_co_timeout_late_error_is_reported(
    context: AioContext, time: FakeClock, clocks: Clocks, reported: list[dict[str, Any]]
) -> None:
    entry = Entry()
    coroutine = start(context, co_timeout(entry, MS, clocks.realtime, entry.cleaned.append))

    time.advance(MS)
    with pytest.raises(TimeoutError):
        await coroutine
    entry.gate.set_exception(ValueError("broken"))
    await rounds(2)

    assert [each["message"] for each in reported] == ["Entry.__call__ failed after its timeout"]
    assert entry.cleaned == []


async def test_co_timeout_none_waits_for_ever(context: AioContext, time: FakeClock, clocks: Clocks) -> None:
    entry = Entry()
    coroutine = start(context, co_timeout(entry, 0, clocks.realtime))

    time.advance(1000 * MS)
    await rounds(2)
    before = coroutine.done()
    entry.gate.set_result("result")

    assert (before, await coroutine) == (False, "result")


async def test_co_timeout_cancelled_the_entry_goes_on_and_is_cleaned(context: AioContext, clocks: Clocks) -> None:
    entry = Entry()
    coroutine = start(context, co_timeout(entry, MS, clocks.realtime, entry.cleaned.append))

    coroutine.cancel()
    await rounds(2)
    entry.gate.set_result("result")
    await rounds(2)

    assert isinstance(coroutine.error, asyncio.CancelledError)
    assert entry.cleaned == ["result"]


async def test_co_timeout_cancelled_as_the_entry_ends_is_cleaned(context: AioContext, clocks: Clocks) -> None:
    entry = Entry()
    coroutine = start(context, co_timeout(entry, MS, clocks.realtime, entry.cleaned.append))

    entry.gate.set_result("result")
    await rounds(1)  # the entry has ended, who waits for it has not gone on
    coroutine.cancel()
    await rounds(2)

    assert isinstance(coroutine.error, asyncio.CancelledError)
    assert entry.cleaned == ["result"]


async def test_co_timeout_entry_ends_in_another_context_either_returned_or_cleaned(
    context: AioContext, threads: Contexts
) -> None:
    """The deadline and the end come at the same time, in two threads, again and again."""
    (other,) = await threads(1)
    clocks = Clocks()
    cleaned: list[int] = []
    returned: list[int] = []

    async def entry(number: int) -> int:
        await reschedule_self(other)
        if number % 2:
            await asyncio.sleep(0)
        return number

    late = 0
    for number in range(300):
        try:
            returned.append(await co_timeout(partial(entry, number), 1, clocks.realtime, cleaned.append))
        except TimeoutError:
            late += 1
    await settled([other])

    assert sorted(returned + cleaned) == list(range(300))
    assert late == len(cleaned)
