# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a target's coroutine on a loop, and makes a defect of whatever it leaves behind."""

from __future__ import annotations

import asyncio
import atexit
import functools
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import uvloop

from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext
from asyncemu.loop.markers import violations

#: After so many seconds a coroutine waits for what will not come. Far above what an input takes on a busy machine.
HANG_SECONDS: Final = 60.0

#: What opening and using an image may raise.
IMAGE_ERRORS: Final = (ConfigError, BlockError, OSError)


class Defect(Exception):
    """An input has made something happen that must not, and that no exception tells of by itself."""


def drive(main: Callable[[AioContext], Awaitable[None]]) -> None:
    """Run ``main`` to its end. Raises what it raises, and Defect: it hangs, or leaves tasks or failures behind."""
    with _silence():
        _drive(main)


@contextmanager
def _silence() -> Iterator[None]:
    """Hostile input is logged; a million inputs would be a million lines."""
    logger = logging.getLogger("asyncemu")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _drive(main: Callable[[AioContext], Awaitable[None]]) -> None:
    loop = _loop()
    failures: list[BaseException] = []

    def note(_: asyncio.AbstractEventLoop, details: dict[str, Any]) -> None:
        error = details.get("exception")
        failures.append(error if isinstance(error, BaseException) else Defect(str(details.get("message"))))

    loop.set_exception_handler(note)
    try:
        loop.run_until_complete(_run(main))
        _look_at_what_is_left(loop, failures)
    except BaseException:
        # The next input gets another loop: this one may have anything in it.
        _loop.cache_clear()
        _close(loop)
        raise


async def _run(main: Callable[[AioContext], Awaitable[None]]) -> None:
    context = AioContext(asyncio.get_running_loop(), "fuzz")
    timeout = asyncio.timeout(HANG_SECONDS)
    try:
        async with timeout:
            await main(context)
    except TimeoutError as error:
        # A TimeoutError of the code under test is an OSError, and not ours.
        if not timeout.expired():
            raise
        raise Defect(f"nothing has ended for {HANG_SECONDS} s") from error
    finally:
        context.close()


def _look_at_what_is_left(loop: asyncio.AbstractEventLoop, failures: Sequence[BaseException]) -> None:
    calls = list(violations)
    violations.clear()
    if failures:
        raise Defect(f"background work failed: {failures[0]!r}") from failures[0]
    if calls:
        raise Defect(f"called from the wrong thread: {calls[0]}")
    if tasks := asyncio.all_tasks(loop):
        raise Defect(f"left behind: {tasks}")


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """One for all inputs: to make one costs more than most inputs do."""
    loop = uvloop.new_event_loop()
    atexit.register(_close, loop)
    return loop


def _close(loop: asyncio.AbstractEventLoop) -> None:
    if loop.is_closed():
        return
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    atexit.unregister(_close)


@contextmanager
def image_errors() -> Iterator[None]:
    """IMAGE_ERRORS end the block and are forgotten; groups of nothing else, too."""
    try:
        yield
    except IMAGE_ERRORS:
        return
    except ExceptionGroup as group:
        other = group.split(IMAGE_ERRORS)[1]
        if other is not None:
            raise
