# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from asyncemu.chardev import ChardevEvent, ChardevOptions
from asyncemu.chardev.python import PIPE_SIZE, Pair, Python
from asyncemu.errors import ChardevError
from asyncemu.loop import AioContext, IOThread
from tests.chardev.recorder import Recorder


@pytest.fixture
async def chardev(context: AioContext) -> AsyncIterator[Python]:
    chardev = Python(ChardevOptions.model_validate({}), "console", context)
    await chardev.open()
    yield chardev
    await chardev.close()


async def test_pair_read_returns_what_the_guest_wrote(context: AioContext, chardev: Python) -> None:
    pair = chardev.open_pair(context)

    chardev.write(b"hello")

    assert await pair.read(3) == b"hel"
    assert await pair.read(100) == b"lo"


async def test_pair_write_reaches_the_front_end_as_it_has_room(context: AioContext, chardev: Python) -> None:
    recorder = Recorder(limit=3)
    chardev.attach(recorder)
    pair = chardev.open_pair(context)

    pair.write(b"hello")
    await recorder.until_received(b"hel")
    recorder.limit = 100
    chardev.accept_input()

    assert recorder.received == b"hello"


async def test_pair_not_read_makes_the_guest_wait(context: AioContext, chardev: Python) -> None:
    recorder = Recorder()
    chardev.attach(recorder)
    pair = chardev.open_pair(context)

    taken = chardev.write(b"x" * 1_000_000)
    first = await pair.read(1_000_000)
    await recorder.until(lambda: recorder.writable_calls > 0)

    assert taken < 1_000_000
    assert len(first) == PIPE_SIZE


async def test_pair_drain_waits_for_the_guest(context: AioContext, chardev: Python) -> None:
    recorder = Recorder(limit=0)
    chardev.attach(recorder)
    pair = chardev.open_pair(context)
    pair.write(b"x" * PIPE_SIZE)

    draining = asyncio.ensure_future(pair.drain())
    await asyncio.wait([draining], timeout=0)
    waited = not draining.done()
    recorder.limit = 1
    chardev.accept_input()
    await draining

    assert waited


async def test_pair_open_and_close_are_events_of_the_front_end(context: AioContext, chardev: Python) -> None:
    recorder = Recorder()
    chardev.attach(recorder)

    pair = chardev.open_pair(context)
    await recorder.until(lambda: len(recorder.events) == 1)
    pair.close()
    await recorder.until(lambda: len(recorder.events) == 2)

    assert recorder.events == [ChardevEvent.OPENED, ChardevEvent.CLOSED]


async def test_pair_second_one_is_refused_while_the_first_is_open(context: AioContext, chardev: Python) -> None:
    first = chardev.open_pair(context)

    with pytest.raises(ChardevError, match="console: open a second pair: Device or resource busy"):
        chardev.open_pair(context)

    first.close()
    assert not chardev.open_pair(context).closed


async def test_pair_write_to_a_closed_chardev_is_epipe(context: AioContext, chardev: Python) -> None:
    pair = chardev.open_pair(context)
    await chardev.close()

    with pytest.raises(ChardevError, match="console: write: Broken pipe"):
        pair.write(b"x")
    assert await pair.read(1) == b""


async def test_python_write_without_a_pair_is_passed_on(chardev: Python) -> None:
    assert chardev.write(b"x" * 1_000_000) == 1_000_000


async def test_pair_chardev_in_an_iothread_bytes_go_both_ways(context: AioContext) -> None:
    iothread = IOThread(context, "io0")
    await iothread.start()
    home = iothread.aio_context
    chardev = Python(ChardevOptions.model_validate({}), "console", home)
    recorder = Recorder()
    pair = await home.call(lambda: _opened(chardev, recorder, context))

    pair.write(b"in")
    await home.call(lambda: recorder.until_received(b"in"))
    await home.call(lambda: _write(chardev, b"out"))
    data = await pair.read(100)
    await home.call(chardev.close)
    await iothread.stop()

    assert data == b"out"


async def _opened(chardev: Python, recorder: Recorder, context: AioContext) -> Pair:
    await chardev.open()
    chardev.attach(recorder)
    return chardev.open_pair(context)


async def _write(chardev: Python, data: bytes) -> int:
    return chardev.write(data)
