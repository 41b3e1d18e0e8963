# SPDX-License-Identifier: GPL-2.0-or-later
"""A front end that records what it is told, and lets a test wait for it; and waiting with a guard."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from asyncemu.chardev import ChardevEvent

#: Seconds after which an awaited event counts as never coming.
GUARD = 10.0

#: More than any front end of a test needs.
PLENTY = 1 << 20


class Recorder:
    """Takes ``limit`` bytes in all; raise it and call ``Chardev.accept_input`` for more."""

    def __init__(self, limit: int = PLENTY) -> None:
        self.limit = limit
        self.received = b""
        self.events: list[ChardevEvent] = []
        self.writable_calls = 0
        self._changed = asyncio.Event()

    def can_receive(self) -> int:
        return self.limit - len(self.received)

    def receive(self, data: bytes) -> None:
        assert 0 < len(data) <= self.can_receive()
        self.received += data
        self._changed.set()

    def chardev_event(self, event: ChardevEvent) -> None:
        self.events.append(event)
        self._changed.set()

    def writable(self) -> None:
        self.writable_calls += 1
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until ``condition`` holds; looked at after each thing this front end is told."""
        async with asyncio.timeout(GUARD):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_received(self, data: bytes) -> None:
        await self.until(lambda: self.received == data)

    async def until_event(self, event: ChardevEvent, count: int = 1) -> None:
        await self.until(lambda: self.events.count(event) >= count)


class Messages(logging.Handler):
    """What the chardevs log, to be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._changed = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self._changed.set()

    async def until_first(self) -> str:
        async with asyncio.timeout(GUARD):
            await self._changed.wait()
        return self.texts[0]


async def readable(fd: int) -> None:
    """Wait until ``fd`` has something to read (or its end)."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    try:
        async with asyncio.timeout(GUARD):
            await ready.wait()
    finally:
        loop.remove_reader(fd)


async def read_exactly(fd: int, size: int) -> bytes:
    """``size`` bytes from ``fd``."""
    data = b""
    while len(data) < size:
        await readable(fd)
        piece = os.read(fd, size - len(data))
        assert piece, f"ended after {data!r}"
        data += piece
    return data


async def read_until(fd: int, end: bytes) -> bytes:
    """What ``fd`` gives up to ``end``."""
    data = b""
    while end not in data:
        await readable(fd)
        piece = os.read(fd, 4096)
        assert piece, f"ended after {data!r}"
        data += piece
    return data
