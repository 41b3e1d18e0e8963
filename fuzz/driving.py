# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a target's coroutine on a loop of its own, and makes a defect of whatever it leaves behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

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
    """Run ``main`` to its end. Raises what it raises, and Defect: it hangs, or background work has failed."""
    # Hostile input is logged; a million inputs would be a million lines.
    logging.getLogger("asyncemu").setLevel(logging.CRITICAL + 1)
    failures: list[BaseException] = []

    def note(_: asyncio.AbstractEventLoop, details: dict[str, object]) -> None:
        error = details.get("exception")
        failures.append(error if isinstance(error, BaseException) else Defect(str(details.get("message"))))

    async def run() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(note)
        context = AioContext(loop, "fuzz")
        try:
            async with asyncio.timeout(HANG_SECONDS) as timeout:
                await main(context)
        except TimeoutError as error:
            # A TimeoutError of the code under test is an OSError, and not ours.
            raise Defect(f"nothing has ended for {HANG_SECONDS} s") if timeout.expired() else error from error
        finally:
            context.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    found = list(violations)
    violations.clear()
    if failures:
        raise Defect("background work failed") from failures[0]
    if found:
        raise Defect(f"called from the wrong thread: {found[0]}")


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

