# SPDX-License-Identifier: GPL-2.0-or-later
"""NetBackend: what an author writes, and its life."""

from __future__ import annotations

import asyncio
import errno
import logging
from typing import Any

import pytest

from asyncemu.errors import NetError
from asyncemu.loop import AioContext, Clocks
from asyncemu.net import Frame, Frames, NetBackend, connect
from asyncemu.options import Options
from asyncemu.testing.memory_wire import Wire
from asyncemu.testing.waiting import until


class Mirror(NetBackend[Options]):
    """Sends back what it gets; its life is written down."""

    def __init__(self, context: AioContext) -> None:
        super().__init__(Options(), "net0", context, Clocks())
        self.life: list[str] = []
        self.frames: asyncio.Queue[bytes] = asyncio.Queue()
        self.error: BaseException | None = None
        self.takes: int | None = None

    async def connect(self) -> None:
        self.life.append("connect")
        if self.error is not None:
            raise self.error

    async def disconnect(self) -> None:
        self.life.append("disconnect")

    async def run(self) -> None:
        self.life.append("run")
        try:
            while True:
                data = await self.frames.get()
                if data == b"fail":
                    raise self.failed(OSError(errno.EIO, ""), "read")
                if data == b"bug":
                    raise ZeroDivisionError
                await self.deliver(data)
        finally:
            self.life.append("end of run")

    def transmit(self, frames: Frames) -> int | None:
        for frame in frames:
            self.frames.put_nowait(frame.tobytes())
        return self.takes


@pytest.fixture
def mirror(context: AioContext) -> Mirror:
    return Mirror(context)


@pytest.fixture
def wire(context: AioContext, mirror: Mirror) -> Wire:
    wire = Wire(context)
    connect(wire, mirror)
    return wire


async def test_life_is_connect_run_and_disconnect(mirror: Mirror, wire: Wire) -> None:
    await mirror.open()
    wire.feed(b"frame")
    await until(lambda: len(wire.frames) == 1)
    await mirror.close()
    await mirror.close()

    assert mirror.life == ["connect", "run", "end of run", "disconnect"]
    assert wire.frames == [b"frame"]


async def test_open_that_fails_gives_everything_back(mirror: Mirror) -> None:
    mirror.error = NetError("net0", errno.EACCES, "open")

    with pytest.raises(NetError, match="net0: open: Permission denied"):
        await mirror.open()

    assert mirror.life == ["connect", "disconnect"]


async def test_run_that_fails_takes_the_link_down_and_says_why(
    mirror: Mirror, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    await mirror.open()
    with caplog.at_level(logging.ERROR, "asyncemu.net"):
        wire.feed(b"fail")
        await until(lambda: not mirror.link_up)
    await mirror.close()

    assert "net0: read: Input/output error; its link is down" in caplog.text
    assert wire.carriers == [True, False]


async def test_bug_of_an_author_is_that_back_ends_failure(mirror: Mirror, wire: Wire, context: AioContext) -> None:
    told: list[dict[str, Any]] = []
    context.loop.set_exception_handler(lambda loop, what: told.append(what))
    await mirror.open()
    wire.feed(b"bug")
    await until(lambda: not mirror.link_up)
    await mirror.close()

    assert [type(what["exception"]) for what in told] == [ZeroDivisionError]


async def test_deliver_waits_for_a_full_guest(mirror: Mirror, wire: Wire) -> None:
    wire.room = 0
    await mirror.open()
    wire.feed(b"1", b"2")
    await until(lambda: mirror.frames.qsize() == 1)
    assert wire.frames == []

    wire.accept()
    await until(lambda: len(wire.frames) == 2)
    await mirror.close()

    assert wire.frames == [b"1", b"2"]


async def test_transmit_that_returns_nothing_has_taken_all(mirror: Mirror, wire: Wire) -> None:
    assert wire.send([Frame.of(b"1"), Frame.of(b"2")]) == 2


async def test_transmit_that_returns_a_number_has_taken_so_many(mirror: Mirror, wire: Wire) -> None:
    mirror.takes = 1

    assert wire.send([Frame.of(b"1"), Frame.of(b"2")]) == 1
