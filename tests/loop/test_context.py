# SPDX-License-Identifier: GPL-2.0-or-later
"""AioContext: descriptors, its home, calls between contexts, and its end."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from asyncemu import coroutines
from asyncemu.loop import AioContext, current_context
from asyncemu.loop.markers import WrongThread
from tests.loop.conftest import Countdown

pytestmark = pytest.mark.both_loops


class ContextThread:
    """A context in a thread of its own, on uvloop."""

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _main(self) -> None:
        loop = uvloop.new_event_loop()
        self.context = AioContext(loop, "other")
        self.ident = threading.get_ident()
        self._ready.set()
        loop.run_forever()
        self.context.close()
        loop.close()

    def stop(self) -> None:
        self.context.schedule_oneshot(self.context.loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def other() -> Iterator[AioContext]:
    thread = ContextThread()
    yield thread.context
    thread.stop()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
    yield ends
    for end in ends:
        end.close()


# ---- descriptors


async def test_fd_handler_readable_is_called_until_it_is_read(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    calls: list[bytes] = []
    three = Countdown(3)

    def readable() -> None:
        calls.append(ours.recv(1))
        three.tick()

    context.set_fd_handler(ours.fileno(), readable)
    theirs.send(b"abc")
    await three.done
    context.set_fd_handler(ours.fileno(), None)

    assert calls == [b"a", b"b", b"c"]


async def test_fd_handler_writable_is_called(context: AioContext, pair: tuple[socket.socket, socket.socket]) -> None:
    writable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    fd = pair[0].fileno()

    def once() -> None:
        context.set_fd_handler(fd, None)
        writable.set_result(None)

    context.set_fd_handler(fd, None, once)

    await writable


async def test_fd_handler_new_one_replaces_the_old(
    context: AioContext, pair: tuple[socket.socket, socket.socket]
) -> None:
    calls: list[str] = []
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    fd = pair[0].fileno()

    def new() -> None:
        context.set_fd_handler(fd, None)
        ended.set_result(None)

    context.set_fd_handler(fd, lambda: calls.append("old"))
    context.set_fd_handler(fd, new)
    pair[1].send(b"x")
    await ended

    assert calls == []


async def test_fd_handler_that_raises_is_reported_and_the_others_are_called(
    context: AioContext, pair: tuple[socket.socket, socket.socket], reported: list[dict[str, Any]]
) -> None:
    ours, theirs = pair
    error = ValueError("broken")
    ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def broken() -> None:
        context.set_fd_handler(ours.fileno(), None)
        raise error

    def other() -> None:
        context.set_fd_handler(theirs.fileno(), None)
        asyncio.get_running_loop().call_soon(ended.set_result, None)

    context.set_fd_handler(ours.fileno(), broken)
    context.set_fd_handler(theirs.fileno(), other)
    theirs.send(b"x")
    ours.send(b"x")
    await ended
    await asyncio.sleep(0)

    assert [each["exception"] for each in reported] == [error]


# ---- home


async def test_in_home_only_in_its_thread(context: AioContext) -> None:
    assert (context.in_home(), await asyncio.to_thread(context.in_home)) == (True, False)


async def test_current_context_is_the_thread_s(context: AioContext, other: AioContext) -> None:
    async def there() -> AioContext | None:
        return current_context()

    assert current_context() is context
    assert await other.call(there) is other
    assert await asyncio.to_thread(current_context) is None


@pytest.mark.parametrize(
    "method",
    [
        lambda context: context.run_timers(),
        lambda context: context.worker_pool.submit(int),
        lambda context: context.worker_pool.close(),
        lambda context: context.close(),
    ],
)
@pytest.mark.usefixtures("expected_violations")
async def test_home_methods_from_another_thread_are_refused(
    context: AioContext, method: Callable[[AioContext], object]
) -> None:
    with pytest.raises(WrongThread, match="belongs to <AioContext test>"):
        await asyncio.to_thread(method, context)


# ---- calls


async def test_call_at_home_is_awaited_in_place(context: AioContext) -> None:
    async def here() -> object:
        return asyncio.current_task()

    assert await context.call(here) is asyncio.current_task()


async def test_call_runs_there_and_the_result_comes_here(context: AioContext, other: AioContext) -> None:
    async def there() -> tuple[bool, bool]:
        await asyncio.sleep(0)
        return other.in_home(), context.in_home()

    assert await other.call(there) == (True, False)
    assert context.in_home()


async def test_call_exception_comes_here(context: AioContext, other: AioContext) -> None:
    error = ValueError("broken")

    async def there() -> None:
        raise error

    with pytest.raises(ValueError, match="broken") as raised:
        await other.call(there)
    assert raised.value is error


async def test_call_many_at_once_all_return(context: AioContext, other: AioContext) -> None:
    async def there(number: int) -> int:
        await asyncio.sleep(0)
        return number

    calls = [other.call(lambda number=number: there(number)) for number in range(100)]  # type: ignore[misc]

    assert await asyncio.gather(*calls) == list(range(100))


async def test_call_from_there_back_here_does_not_deadlock(context: AioContext, other: AioContext) -> None:
    async def here() -> bool:
        return context.in_home()

    async def there() -> bool:
        return await context.call(here)

    assert await other.call(there)


async def test_call_cancelled_here_is_cancelled_there(context: AioContext, other: AioContext) -> None:
    begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    cancelled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def there() -> None:
        context.schedule_oneshot(lambda: begun.set_result(None))
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            context.schedule_oneshot(lambda: cancelled.set_result(None))

    call = asyncio.ensure_future(other.call(there))
    await begun
    call.cancel()
    await cancelled

    with pytest.raises(asyncio.CancelledError):
        await call


async def test_call_from_a_coroutine_resumes_at_home(context: AioContext, other: AioContext) -> None:
    async def there() -> bool:
        return other.in_home()

    async def body() -> tuple[bool, bool]:
        return await other.call(there), context.in_home()

    assert await coroutines.start(context, body()) == (True, True)


# ---- the end


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


async def test_close_gives_all_descriptors_back_and_twice_is_once(context: AioContext) -> None:
    before = open_descriptors()
    second = AioContext(asyncio.get_running_loop(), "second")
    await second.worker_pool.run(int)

    second.close()
    second.close()

    assert open_descriptors() == before


async def test_close_current_context_is_none() -> None:
    AioContext(asyncio.get_running_loop(), "short").close()

    assert current_context() is None


async def test_close_while_threads_enqueue_raises_nowhere() -> None:
    """A late ring must find no descriptor rather than somebody else's."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def flood(context: AioContext) -> None:
        try:
            while not stop.is_set():
                context.schedule_oneshot(int)
        except BaseException as error:
            errors.append(error)

    for _ in range(5):
        context = AioContext(asyncio.get_running_loop(), "short")
        thread = threading.Thread(target=flood, args=(context,))
        thread.start()
        await asyncio.sleep(0)
        context.close()
        stop.set()
        thread.join()
        stop.clear()

    assert errors == []
