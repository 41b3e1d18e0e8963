# SPDX-License-Identifier: GPL-2.0-or-later
"""EventNotifier: rings are heard, once for all that came before the look."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from typing import Final

import pytest

from asyncemu.loop import AioContext, EventNotifier
from tests.loop.conftest import Countdown, InThread

#: eventfd(2): the largest value that the counter takes.
FULL: Final = (1 << 64) - 2


@pytest.fixture
def notifier() -> Iterator[EventNotifier]:
    notifier = EventNotifier()
    yield notifier
    notifier.close()


def test_rings_are_heard_once(notifier: EventNotifier) -> None:
    notifier.set()
    notifier.set()

    assert [notifier.test_and_clear() for _ in range(2)] == [True, False]


def test_new_is_silent_unless_active() -> None:
    quiet, active = EventNotifier(), EventNotifier(active=True)

    heard = (quiet.test_and_clear(), active.test_and_clear())
    quiet.close()
    active.close()

    assert heard == (False, True)


def test_set_counter_full_does_not_block(notifier: EventNotifier) -> None:
    os.eventfd_write(notifier.fd, FULL)

    notifier.set()

    assert notifier.test_and_clear()


def test_close_twice_closes_once() -> None:
    notifier = EventNotifier()

    notifier.close()
    notifier.close()

    assert notifier.fd == -1


@pytest.mark.both_loops
async def test_listener_hears_each_ring_from_another_thread(
    context: AioContext, notifier: EventNotifier, in_thread: InThread
) -> None:
    rings = 100
    heard = threading.Semaphore(0)
    all_heard = Countdown(rings)

    def callback() -> None:
        all_heard.tick()
        heard.release()

    def ring() -> None:
        for _ in range(rings):
            notifier.set()
            assert heard.acquire(timeout=10)

    context.set_event_notifier(notifier, callback)
    in_thread(ring)
    await all_heard.done
    context.set_event_notifier(notifier, None)


@pytest.mark.both_loops
async def test_listener_removed_hears_no_more(context: AioContext, notifier: EventNotifier) -> None:
    heard: list[str] = []
    other = EventNotifier()
    other_heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    context.set_event_notifier(notifier, lambda: heard.append("heard"))
    context.set_event_notifier(other, lambda: other_heard.set_result(None))

    context.set_event_notifier(notifier, None)
    notifier.set()
    other.set()
    await other_heard
    context.set_event_notifier(other, None)
    other.close()

    assert heard == []


@pytest.mark.both_loops
async def test_listener_that_removes_itself_is_called_once(context: AioContext, notifier: EventNotifier) -> None:
    heard: list[str] = []
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def callback() -> None:
        heard.append("heard")
        context.set_event_notifier(notifier, None)
        notifier.set()
        asyncio.get_running_loop().call_later(0, over.set_result, None)

    context.set_event_notifier(notifier, callback)
    notifier.set()
    await over

    assert heard == ["heard"]
