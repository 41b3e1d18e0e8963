# SPDX-License-Identifier: GPL-2.0-or-later
"""What the tests of the event model share."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from asyncemu.loop.markers import enter_vcpu_thread

InThread = Callable[[Callable[[], object]], threading.Thread]


class Countdown:
    """Done, at home, once ``tick`` has been called ``count`` times."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            self.done.set_result(None)


@pytest.fixture
async def reported() -> AsyncIterator[list[dict[str, Any]]]:
    """What reaches the loop's exception handler."""
    loop = asyncio.get_running_loop()
    contexts: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    loop.set_exception_handler(None)


@pytest.fixture
def in_thread() -> Iterator[InThread]:
    """Start a function in a thread of its own; all have ended when the test has."""
    threads: list[threading.Thread] = []

    def start(function: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=function, daemon=True)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture
def in_vcpu_thread(in_thread: InThread) -> InThread:
    """As ``in_thread``, in a thread that counts as a vCPU thread."""

    def start(function: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            enter_vcpu_thread()
            function()

        return in_thread(run)

    return start
