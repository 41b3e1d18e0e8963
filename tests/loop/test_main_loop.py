# SPDX-License-Identifier: GPL-2.0-or-later
"""MainLoop.run: a context on uvloop around one coroutine."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest
import uvloop

from asyncemu.loop import AioContext, MainLoop, current_context
from asyncemu.loop.main_loop import SWITCH_INTERVAL


@pytest.fixture(autouse=True)
def switch_interval() -> Iterator[None]:
    """The interpreter's own, again, for the other tests."""
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def test_run_returns_the_result_of_main() -> None:
    async def main(context: AioContext) -> str:
        await asyncio.sleep(0)
        return context.name

    assert MainLoop.run(main) == "main"


def test_run_is_on_uvloop_with_its_context_at_home() -> None:
    async def main(context: AioContext) -> tuple[bool, bool, bool]:
        loop = asyncio.get_running_loop()
        return isinstance(loop, uvloop.Loop), context.loop is loop, current_context() is context

    assert MainLoop.run(main) == (True, True, True)


def test_run_exception_leaves_and_the_context_is_closed() -> None:
    seen: list[AioContext] = []

    async def main(context: AioContext) -> None:
        seen.append(context)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        MainLoop.run(main)
    with pytest.raises(RuntimeError, match="the worker pool is closed"):
        seen[0].worker_pool.submit(int)
    assert current_context() is None


def test_run_tasks_left_behind_are_cancelled() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("ended")

    async def main(context: AioContext) -> asyncio.Task[None]:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        return task

    assert MainLoop.run(main).cancelled()
    assert ended == ["ended"]


def test_run_lowers_the_switch_interval() -> None:
    async def main(_: AioContext) -> float:
        return sys.getswitchinterval()

    assert MainLoop.run(main) == pytest.approx(SWITCH_INTERVAL)
