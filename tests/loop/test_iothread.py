# SPDX-License-Identifier: GPL-2.0-or-later
"""IOThread: its life, its parameters while it runs, what it tells of itself, and how it fails."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from asyncemu.loop import AioContext, IOThread, IOThreadParameters, current_context

pytestmark = pytest.mark.both_loops


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.fixture
async def iothread(context: AioContext) -> AsyncIterator[IOThread]:
    iothread = IOThread(context, "io0")
    await iothread.start()
    yield iothread
    await iothread.stop()


async def inside(iothread: IOThread, name: str) -> Any:
    """An attribute of its context, or of that context's worker pool, as seen there."""

    async def look() -> Any:
        context = iothread.aio_context
        return getattr(context.worker_pool if hasattr(context.worker_pool, name) else context, name)

    return await iothread.aio_context.call(look)


# ---- its life


async def test_start_runs_a_context_in_a_thread_of_its_own(context: AioContext, iothread: IOThread) -> None:
    seen: asyncio.Future[tuple[AioContext | None, str, int]] = asyncio.get_running_loop().create_future()

    def look() -> None:
        answer = (current_context(), threading.current_thread().name, threading.get_native_id())
        context.schedule_oneshot(lambda: seen.set_result(answer))

    iothread.aio_context.schedule_oneshot(look)

    assert await seen == (iothread.aio_context, "IO io0", iothread.thread_id)
    assert iothread.running


async def test_start_twice_is_an_error(iothread: IOThread) -> None:
    with pytest.raises(RuntimeError, match="threads can only be started once"):
        await iothread.start()


async def test_stop_ends_the_thread_and_gives_all_descriptors_back(context: AioContext) -> None:
    before = open_descriptors()
    iothread = IOThread(context, "io0")
    await iothread.start()

    await iothread.stop()

    assert (iothread.running, open_descriptors()) == (False, before)
    assert iothread.thread_id not in {thread.native_id for thread in threading.enumerate()}


async def test_stop_twice_is_once(iothread: IOThread) -> None:
    await asyncio.gather(iothread.stop(), iothread.stop())
    await iothread.stop()

    assert not iothread.running


async def test_stop_before_start_is_nothing(context: AioContext) -> None:
    iothread = IOThread(context, "io0")

    await iothread.stop()
    await iothread.start()
    running = iothread.running
    await iothread.stop()

    assert running


async def test_stop_while_it_starts_waits_for_that(context: AioContext) -> None:
    iothread = IOThread(context, "io0")
    starting = asyncio.ensure_future(iothread.start())
    await asyncio.sleep(0)

    await iothread.stop()
    await starting

    assert not iothread.running


async def test_stop_cancelled_may_be_called_again(iothread: IOThread) -> None:
    stopping = asyncio.ensure_future(iothread.stop())
    await asyncio.sleep(0)
    stopping.cancel()

    await iothread.stop()

    assert (stopping.cancelled(), iothread.running) == (True, False)


async def test_start_cancelled_leaves_it_running(context: AioContext, reported: list[dict[str, Any]]) -> None:
    iothread = IOThread(context, "io0")
    starting = asyncio.ensure_future(iothread.start())
    await asyncio.sleep(0)
    starting.cancel()

    await iothread.stop()

    assert (starting.cancelled(), reported) == (True, [])


async def test_stop_drops_what_is_scheduled_later(iothread: IOThread) -> None:
    ran: list[str] = []
    bottom_half = iothread.aio_context.bh_new(lambda: ran.append("ran"))

    await iothread.stop()
    bottom_half.schedule()

    assert (ran, list(iothread.aio_context.bottom_halves.incoming)) == ([], [])


async def test_call_into_one_that_has_ended_is_an_error(context: AioContext, iothread: IOThread) -> None:
    async def there() -> None: ...

    await iothread.stop()

    with pytest.raises(RuntimeError, match="<AioContext io0> is closed"):
        await iothread.aio_context.call(there)


async def test_call_into_one_that_ends_meanwhile_is_an_error(context: AioContext, iothread: IOThread) -> None:
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def there() -> None:
        context.schedule_oneshot(lambda: begun.set_result(None))
        await asyncio.get_running_loop().create_future()

    call = asyncio.ensure_future(iothread.aio_context.call(there))
    await begun
    await iothread.stop()

    with pytest.raises(RuntimeError, match="<AioContext io0> is closed"):
        await call


# ---- failures


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """The process may open ``count`` more descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("count", range(7))
async def test_start_without_enough_descriptors_is_an_error_and_keeps_none(context: AioContext, count: int) -> None:
    before = open_descriptors()
    iothread = IOThread(context, "io0")

    with descriptors_left(count), pytest.raises(OSError, match=r"(?i)too many open files"):
        await iothread.start()
    await iothread.stop()

    assert (iothread.running, open_descriptors()) == (False, before)


async def test_start_without_a_thread_is_an_error(context: AioContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    iothread = IOThread(context, "io0")
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="can't start new thread"):
        patched.setattr(threading.Thread, "start", refuse)
        await iothread.start()
    await iothread.stop()

    assert not iothread.running


async def test_failure_while_it_runs_is_reported(context: AioContext, reported: list[dict[str, Any]]) -> None:
    iothread = IOThread(context, "io0")
    await iothread.start()

    def interrupt() -> None:
        raise SystemExit("broken")

    iothread.aio_context.schedule_oneshot(interrupt)
    await iothread.stop()

    assert [(each["message"], str(each["exception"])) for each in reported] == [("<IOThread io0>", "broken")]


# ---- parameters


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"aio_max_batch": 7}, "aio_max_batch", 7),
        ({"thread_pool_min": 2}, "min_threads", 2),
        ({"thread_pool_max": 3}, "max_threads", 3),
    ],
)
async def test_change_is_in_effect_when_it_returns(
    iothread: IOThread, changes: dict[str, int], name: str, expected: int
) -> None:
    await iothread.change(**changes)

    assert await inside(iothread, name) == expected
    assert await inside(iothread, "polling") is not None


async def test_change_polling_is_in_effect_when_it_returns(iothread: IOThread) -> None:
    await iothread.change(poll_max_ns=50_000, poll_grow=3, poll_shrink=4)

    parameters = (await inside(iothread, "polling")).time.parameters
    assert (parameters.max_ns, parameters.grow, parameters.shrink) == (50_000, 3, 4)


async def test_change_poll_max_ns_to_zero_switches_polling_off_and_on_again(iothread: IOThread) -> None:
    await iothread.change(poll_max_ns=0)
    off = await inside(iothread, "polling")
    await iothread.change(poll_max_ns=1)

    assert off is None
    assert await inside(iothread, "polling") is not None


async def test_change_nothing_keeps_all(iothread: IOThread) -> None:
    await iothread.change()

    assert iothread.parameters == IOThreadParameters()


async def test_change_before_start_is_what_it_starts_with(context: AioContext) -> None:
    iothread = IOThread(context, "io0")

    await iothread.change(aio_max_batch=5)
    await iothread.start()
    started_with = await inside(iothread, "aio_max_batch")
    await iothread.stop()

    assert started_with == 5


async def test_change_after_stop_is_noted(context: AioContext, iothread: IOThread) -> None:
    await iothread.stop()

    await iothread.change(poll_grow=5)

    assert iothread.query()["poll-grow"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poll_max_ns": -1}, "poll-max-ns is negative: -1"),
        ({"aio_max_batch": -2}, "aio-max-batch is negative: -2"),
        ({"thread_pool_min": 5, "thread_pool_max": 4}, "5 to 4 worker threads"),
        ({"thread_pool_max": 0}, "0 to 0 worker threads"),
    ],
)
async def test_change_to_what_can_t_be_is_an_error_and_changes_nothing(
    iothread: IOThread, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        await iothread.change(**changes)

    assert iothread.parameters == IOThreadParameters()


async def test_change_of_what_there_is_not_is_an_error(iothread: IOThread) -> None:
    with pytest.raises(TypeError, match="poll_max"):
        await iothread.change(poll_max=1)


# ---- what it tells


async def test_query_has_qemu_s_names(iothread: IOThread) -> None:
    answer = iothread.query()
    del answer["statistics"]

    assert answer == {
        "id": "io0",
        "thread-id": iothread.thread_id,
        "poll-max-ns": 32_768,
        "poll-grow": 0,
        "poll-shrink": 0,
        "aio-max-batch": 0,
        "thread-pool-min": 0,
        "thread-pool-max": 64,
    }


async def test_query_statistics_count_what_it_does(iothread: IOThread) -> None:
    before = iothread.query()["statistics"]

    for _ in range(3):
        await iothread.change(thread_pool_min=1)
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    iothread.aio_context.schedule_oneshot(
        lambda: iothread.context.schedule_oneshot(lambda: done.set_result(None)),
    )
    await done
    after = iothread.query()["statistics"]

    assert after["bottom_halves"] - before["bottom_halves"] == 1
    assert after["rounds"] > before["rounds"]
    assert after["worker_threads"] == 1


async def test_query_before_start_has_no_statistics(context: AioContext) -> None:
    answer = IOThread(context, "io0").query()

    assert (answer["thread-id"], answer["statistics"]) == (0, {})
