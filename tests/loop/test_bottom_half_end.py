# SPDX-License-Identifier: GPL-2.0-or-later
"""Rounds that end before their time: by an exception that ends the loop, and by a context that is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from asyncemu.loop import AioContext
from tests.loop.conftest import InThread

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=["uvloop", "asyncio"])
def loop(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoop:
    """A loop that the test runs, stops and runs again."""
    import uvloop

    factories: dict[str, LoopFactory] = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return factories[request.param]()


def interrupt() -> None:
    raise KeyboardInterrupt


def run_on(loop: asyncio.AbstractEventLoop, context: AioContext) -> None:
    """Run all that is scheduled, then close everything."""
    context.schedule_oneshot(lambda: context.schedule_oneshot(loop.stop))
    loop.run_forever()
    context.close()
    loop.close()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_round_ended_by_an_interruption_goes_on_with_the_loop(
    loop: asyncio.AbstractEventLoop, interruption: type[BaseException]
) -> None:
    context = AioContext(loop, "interrupted")
    calls: list[int] = []

    def interrupt() -> None:
        raise interruption

    context.schedule_oneshot(partial(calls.append, 1))
    context.schedule_oneshot(interrupt)
    context.schedule_oneshot(partial(calls.append, 2))
    with pytest.raises(interruption):
        loop.run_forever()
    context.schedule_oneshot(partial(calls.append, 3))
    run_on(loop, context)

    assert calls == [1, 2, 3]


def test_round_ended_by_an_interruption_leaves_others_to_be_heard(
    loop: asyncio.AbstractEventLoop, in_thread: InThread
) -> None:
    context = AioContext(loop, "interrupted")
    calls: list[str] = []
    context.schedule_oneshot(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()

    in_thread(lambda: context.schedule_oneshot(partial(calls.append, "other"))).join()
    run_on(loop, context)

    assert calls == ["other"]


@pytest.mark.both_loops
async def test_close_in_a_bottom_half_drops_those_behind_it() -> None:
    context = AioContext(asyncio.get_running_loop(), "short")
    calls: list[str] = []

    context.schedule_oneshot(context.close)
    context.schedule_oneshot(lambda: calls.append("ran"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert calls == []


@pytest.mark.both_loops
async def test_close_with_a_round_asked_for_runs_nothing_more(in_thread: InThread) -> None:
    """The loop still calls that round; what threads hand in meanwhile must not run in it."""
    context = AioContext(asyncio.get_running_loop(), "short")
    calls: list[str] = []

    context.schedule_oneshot(lambda: calls.append("home"))
    context.close()
    in_thread(lambda: context.schedule_oneshot(lambda: calls.append("other"))).join()
    for _ in range(3):
        await asyncio.sleep(0)

    assert calls == []


@pytest.mark.both_loops
@pytest.mark.parametrize("method", ["schedule", "schedule_idle"])
async def test_schedule_at_home_after_close_is_dropped(method: str) -> None:
    context = AioContext(asyncio.get_running_loop(), "short")
    calls: list[str] = []
    bottom_half = context.bh_new(lambda: calls.append("ran"))
    context.close()

    getattr(bottom_half, method)()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert calls == []


async def test_schedule_after_close_keeps_nothing(in_thread: InThread) -> None:
    context = AioContext(asyncio.get_running_loop(), "short")
    context.close()

    in_thread(lambda: [context.schedule_oneshot(int) for _ in range(100)]).join()

    assert not context.bottom_halves.incoming
