# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU's tests/unit/test-aio.c checks, by its names.

QEMU runs its cases twice: with aio_poll, and under the names /aio-gsource/... from a GLib main loop. Ours run on uvloop
and on asyncio. aio_poll(ctx, false) is ``turn`` here: what has been scheduled or is ready, and no waiting.

/aio/acquire is about aio_context_acquire, with which a second thread borrowed a context between two rounds, as the big
lock let it. QEMU has removed it, and we never had it: nobody borrows a context, one asks it by a bottom half or a call.
/aio/external-client went with aio_disable_external; what it was for, drained sections, is in tests/block.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from asyncemu.coroutines import Coroutine, co_yield, coroutine_self
from asyncemu.loop import AioContext, Clocks, EventNotifier
from asyncemu.testing.fake_clock import FakeClock

pytestmark = pytest.mark.both_loops

MILLISECOND = 1_000_000


async def turn() -> None:
    """Once or twice round the loop, without waiting: bottom halves, then descriptors."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0, over.set_result, None)
    await over


async def bottom_half_turn() -> None:
    """One round of bottom halves."""
    await asyncio.sleep(0)


class Scheduled:
    """A bottom half that counts, and schedules itself until it has run ``most`` times; then deletes itself if told."""

    def __init__(self, context: AioContext, most: int = 0, delete: bool = False) -> None:
        self.runs = 0
        self._most = most
        self._delete = delete
        self.bottom_half = context.bh_new(self._callback, "scheduled")

    def _callback(self) -> None:
        self.runs += 1
        if self.runs < self._most:
            self.bottom_half.schedule()
        elif self._delete:
            self.bottom_half.delete()


class Rung:
    """A listener that counts, and rings itself until it has heard ``rings`` of them."""

    def __init__(self, context: AioContext, rings: int = 0) -> None:
        self._context = context
        self._rings = rings
        self.heard = 0
        self.notifier = EventNotifier()
        context.set_event_notifier(self.notifier, self._callback)

    def _callback(self) -> None:
        self.heard += 1
        if self.heard < self._rings:
            self.notifier.set()

    def close(self) -> None:
        self._context.set_event_notifier(self.notifier, None)
        self.notifier.close()


# ---- bottom halves


async def test_bh_schedule(context: AioContext) -> None:
    scheduled = Scheduled(context)
    scheduled.bottom_half.schedule()
    runs = [scheduled.runs]

    for _ in range(2):
        await bottom_half_turn()
        runs.append(scheduled.runs)

    assert runs == [0, 1, 1]


async def test_bh_schedule10(context: AioContext) -> None:
    scheduled = Scheduled(context, most=10)
    scheduled.bottom_half.schedule()
    runs = [scheduled.runs]

    for _ in range(12):
        await bottom_half_turn()
        runs.append(scheduled.runs)

    assert runs == [*range(11), 10, 10]


async def test_bh_cancel(context: AioContext) -> None:
    scheduled = Scheduled(context)

    scheduled.bottom_half.schedule()
    scheduled.bottom_half.cancel()
    await turn()

    assert scheduled.runs == 0


async def test_bh_delete(context: AioContext) -> None:
    scheduled = Scheduled(context)

    scheduled.bottom_half.schedule()
    scheduled.bottom_half.delete()
    await turn()

    assert scheduled.runs == 0


async def test_bh_callback_delete_one(context: AioContext) -> None:
    scheduled = Scheduled(context, most=1, delete=True)

    scheduled.bottom_half.schedule()
    await turn()
    scheduled.bottom_half.schedule()
    await turn()

    assert scheduled.runs == 1


async def test_bh_callback_delete_many(context: AioContext) -> None:
    """Each deletes itself in a round in which others still run."""
    most = [1, 3, 2, 4]
    scheduled = [Scheduled(context, each, delete=True) for each in most]
    for each in scheduled:
        each.bottom_half.schedule()
    runs = []

    for _ in range(5):
        await bottom_half_turn()
        runs.append([each.runs for each in scheduled])

    assert runs == [[1, 1, 1, 1], [1, 2, 2, 2], [1, 3, 2, 3], [1, 3, 2, 4], [1, 3, 2, 4]]


async def test_bh_flush(context: AioContext) -> None:
    """Waiting until nothing is scheduled is one round."""
    scheduled = Scheduled(context)

    scheduled.bottom_half.schedule()
    await bottom_half_turn()

    assert (scheduled.runs, scheduled.bottom_half.pending) == (1, False)


# ---- event notifiers


async def test_event_add_remove(context: AioContext) -> None:
    rung = Rung(context)
    await turn()
    added = rung.heard
    context.set_event_notifier(rung.notifier, None)
    await turn()
    rung.close()

    assert (added, rung.heard) == (0, 0)


async def test_event_wait(context: AioContext) -> None:
    rung = Rung(context)
    await turn()
    before = rung.heard
    rung.notifier.set()
    heard = []
    for _ in range(2):
        await turn()
        heard.append(rung.heard)
    rung.close()
    await turn()

    assert (before, heard, rung.heard) == (0, [1, 1], 1)


async def test_event_flush(context: AioContext) -> None:
    """A listener that rings itself is heard once a round, until it is done."""
    rung = Rung(context, rings=10)
    rung.notifier.set()
    steps = []
    while rung.heard < 10:
        before = rung.heard
        await turn()
        steps.append(rung.heard - before)
    await turn()
    rung.close()

    assert rung.heard == 10
    assert max(steps) <= 2


@pytest.fixture
async def dummy(context: AioContext) -> AsyncIterator[Rung]:
    """A listener that nobody rings until the end."""
    rung = Rung(context)
    yield rung
    rung.close()


async def test_event_wait_no_flush_cb(context: AioContext, dummy: Rung) -> None:
    """One is heard at once, also while somebody waits for another that is silent."""
    rung = Rung(context)
    heard = []
    for _ in range(2):
        rung.notifier.set()
        await turn()
        heard.append(rung.heard)
        await turn()
        heard.append(rung.heard)
    dummy.notifier.set()
    while not dummy.heard:
        await turn()
    rung.close()

    assert (heard, rung.heard, dummy.heard) == ([1, 1, 2, 2], 2, 1)


# ---- timers


async def test_timer_schedule(context: AioContext) -> None:
    """Set again by its callback, once; each time it waits for its deadline."""
    time = FakeClock()
    clock = Clocks(time).realtime
    fired: list[int] = []

    def callback() -> None:
        fired.append(clock.now())
        if len(fired) < 2:
            timer.mod(clock.now() + 750 * MILLISECOND)

    timer = context.timer(clock, callback)
    timer.mod(750 * MILLISECOND)
    await turn()
    time.advance(750 * MILLISECOND - 1)
    early = list(fired)
    time.advance(1)
    time.advance(750 * MILLISECOND - 1)
    once = list(fired)
    time.advance(1)
    time.advance(10_000 * MILLISECOND)

    assert (early, once) == ([], [750 * MILLISECOND])
    assert (fired, timer.pending) == ([750 * MILLISECOND, 1500 * MILLISECOND], False)


# ---- coroutines


async def test_coroutine_queue_chaining(context: AioContext) -> None:
    """One that was queued to be woken wakes others itself before it ends: they run behind it, and none is lost."""
    order: list[str] = []
    begun: dict[str, Coroutine[None]] = {}

    async def leaf(name: str) -> None:
        await co_yield()
        order.append(name)

    async def chain(name: str, behind: list[str]) -> None:
        await co_yield()
        order.append(name)
        for each in behind:
            begun[each].wake()
        order.append(f"{name} ends")

    async def root() -> None:
        assert coroutine_self() is not None
        begun["a"].wake()
        begun["b"].wake()
        order.append("root ends")

    for name, body in (
        ("a", chain("a", ["c"])),
        ("b", chain("b", ["d"])),
        ("c", leaf("c")),
        ("d", leaf("d")),
    ):
        begun[name] = Coroutine(context, body)
        begun[name].enter()

    ended = Coroutine(context, root()).enter()

    assert ended
    assert order[0] == "root ends"
    assert sorted(order[1:]) == ["a", "a ends", "b", "b ends", "c", "d"]
    assert all(order.index(first) < order.index(second) for first, second in (("a ends", "c"), ("b ends", "d")))
    assert all(each.done() for each in begun.values())


async def test_coroutine_worker_thread_co_enter(context: AioContext) -> None:
    """A worker thread has a coroutine entered: that is done at home, and the coroutine goes on there."""
    resumed_at_home: list[bool] = []

    async def body() -> None:
        this = coroutine_self()
        assert this is not None
        context.worker_pool.submit(this.wake)
        await co_yield()
        resumed_at_home.append(context.in_home())

    coroutine = Coroutine(context, body())
    coroutine.enter()
    entered_meanwhile = coroutine.done()
    await coroutine

    assert (entered_meanwhile, resumed_at_home) == (False, [True])
