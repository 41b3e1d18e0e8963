# SPDX-License-Identifier: GPL-2.0-or-later
"""One round of the loop, in the order that AioContext's docstring tells."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from functools import partial

import pytest

from asyncemu.loop import AioContext, Clocks, EventNotifier
from asyncemu.testing.fake_clock import FakeClock
from tests.loop.conftest import InThread


@pytest.fixture
def readable() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.send(b"x")
    yield ours
    ours.close()
    theirs.close()


@pytest.mark.both_loops
async def test_bottom_half_scheduled_by_a_handler_runs_before_any_handler_of_the_next_round(
    context: AioContext, readable: socket.socket
) -> None:
    order: list[str] = []
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_readable() -> None:
        order.append("handler")
        if len(order) < 5:  # level-triggered: nobody reads
            context.schedule_oneshot(lambda: order.append("bottom half"))
        else:
            context.set_fd_handler(readable.fileno(), None)
            over.set_result(None)

    context.set_fd_handler(readable.fileno(), on_readable)
    await over

    assert order == ["handler", "bottom half", "handler", "bottom half", "handler"]


@pytest.mark.both_loops
async def test_bottom_half_scheduled_by_a_timer_runs_before_any_timer_of_the_next_round(context: AioContext) -> None:
    order: list[str] = []
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fired() -> None:
        order.append("timer")
        if len(order) < 5:
            context.schedule_oneshot(lambda: order.append("bottom half"))
            timer.mod(0)
        else:
            over.set_result(None)

    timer = context.timer(Clocks().realtime, fired)
    timer.mod(0)
    await over

    assert order == ["timer", "bottom half", "timer", "bottom half", "timer"]


@pytest.mark.both_loops
async def test_handed_in_by_others_runs_with_the_doorbell_and_what_it_schedules_a_round_later(
    context: AioContext, in_thread: InThread
) -> None:
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    rounds: list[int] = []

    def second() -> None:
        rounds.append(context.statistics()["rounds"])
        over.set_result(None)

    def first() -> None:
        context.schedule_oneshot(second)
        rounds.append(context.statistics()["rounds"])

    before = context.statistics()["rounds"]
    in_thread(lambda: context.schedule_oneshot(first)).join()
    await over

    assert rounds == [before + 1, before + 2]


async def test_timers_clock_by_clock_each_in_the_order_of_deadlines(context: AioContext) -> None:
    clocks = Clocks()
    clocks.run_virtual(True)
    order: list[str] = []
    # The clocks come to the context in this order.
    for name, deadline in (("virtual", 2), ("realtime", 3), ("virtual", 1), ("realtime", 0)):
        context.timer(getattr(clocks, name), partial(order.append, f"{name} {deadline}")).mod(deadline)

    context.run_timers()

    assert order == ["virtual 1", "virtual 2", "realtime 0", "realtime 3"]


async def test_timer_set_by_a_timer_for_now_runs_in_a_later_run(context: AioContext) -> None:
    time = FakeClock()
    clock = Clocks(time).realtime
    order: list[str] = []

    def first() -> None:
        context.timer(clock, lambda: order.append("second")).mod(0)
        order.append("first")

    context.timer(clock, first).mod(0)
    context.run_timers()
    after_one = list(order)
    context.run_timers()

    assert (after_one, order) == (["first"], ["first", "second"])


async def test_event_notifier_is_a_descriptor_like_others(context: AioContext, readable: socket.socket) -> None:
    notifier = EventNotifier(active=True)
    order: list[str] = []
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def heard(what: str) -> None:
        order.append(what)
        if len(order) == 2:
            over.set_result(None)

    def on_readable() -> None:
        context.set_fd_handler(readable.fileno(), None)
        heard("descriptor")

    context.set_event_notifier(notifier, lambda: heard("notifier"))
    context.set_fd_handler(readable.fileno(), on_readable)
    await over
    context.set_event_notifier(notifier, None)
    notifier.close()

    assert sorted(order) == ["descriptor", "notifier"]


@pytest.mark.both_loops
async def test_nothing_is_nested(context: AioContext, readable: socket.socket) -> None:
    """Whatever a callback asks for, it is done after the callback."""
    clock = Clocks().realtime
    notifier = EventNotifier()
    inside = False
    nested: list[str] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = {"bottom half", "timer", "notifier", "handler"}

    def called(what: str) -> None:
        left.discard(what)
        if inside:
            nested.append(what)
        if not left:
            ended.set_result(None)

    def on_readable() -> None:
        context.set_fd_handler(readable.fileno(), None)
        called("handler")

    def asks_for_all() -> None:
        nonlocal inside
        inside = True
        context.schedule_oneshot(lambda: called("bottom half"))
        context.timer(clock, lambda: called("timer")).mod(0)
        notifier.set()
        context.set_fd_handler(readable.fileno(), on_readable)
        inside = False

    context.set_event_notifier(notifier, lambda: called("notifier"))
    context.schedule_oneshot(asks_for_all)
    await ended
    context.set_event_notifier(notifier, None)
    notifier.close()

    assert nested == []
