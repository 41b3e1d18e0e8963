# SPDX-License-Identifier: GPL-2.0-or-later
"""A chardev behind an address of the guest's network."""

from __future__ import annotations

import pytest

from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext
from asyncemu.net.user import guestfwd_chardev
from asyncemu.testing import until
from asyncemu.testing.memory_chardev import MemoryChardev
from tests.net.user.network import Network, network

SERVICE = "10.0.2.100"
FORWARD = f"tcp:{SERVICE}:7-chardev:c0"


@pytest.fixture
async def chardev(context: AioContext) -> MemoryChardev:
    return await MemoryChardev.make(context, "c0")


async def test_chardev_talks_to_the_guest(context: AioContext, chardev: MemoryChardev) -> None:
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]) as net:
        stream = await net.client.connect(SERVICE, 7)
        await stream.write(b"question")
        await until(lambda: chardev.sent == b"question")
        chardev.type(b"answer")

        assert await stream.read(6) == b"answer"


async def test_chardev_that_speaks_first_waits_for_a_connection(context: AioContext, chardev: MemoryChardev) -> None:
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]) as net:
        chardev.type(b"early")
        untyped = chardev.untyped
        stream = await net.client.connect(SERVICE, 7)

        assert (untyped, await stream.read(5)) == (b"early", b"early")


async def test_chardev_has_one_connection_at_a_time(context: AioContext, chardev: MemoryChardev) -> None:
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]) as net:
        await net.client.connect(SERVICE, 7)

        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(SERVICE, 7)
        assert net.drops["guestfwd connections to a chardev that has one"] == 1


async def test_guest_that_says_no_more_still_hears_the_chardev(context: AioContext, chardev: MemoryChardev) -> None:
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]) as net:
        stream = await net.client.connect(SERVICE, 7)
        await stream.write(b"question")
        stream.close()
        await until(lambda: chardev.sent == b"question")
        chardev.type(b"answer")

        assert await stream.read(6) == b"answer"


async def test_guest_that_says_no_more_makes_room_for_the_next(context: AioContext, chardev: MemoryChardev) -> None:
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]) as net:
        first = await net.client.connect(SERVICE, 7)
        await first.write(b"first")
        first.close()
        bridge = net.netdev.programs[0].bridge
        assert bridge is not None
        await until(lambda: not bridge.is_busy)
        second = await net.client.connect(SERVICE, 7)
        await second.write(b"second")
        await until(lambda: chardev.sent == b"firstsecond")
        chardev.type(b"answer")

        assert (await first.read(), await second.read(6)) == (b"", b"answer")


async def test_guest_that_resets_loses_nothing_of_what_the_chardev_says_next(
    context: AioContext, chardev: MemoryChardev
) -> None:
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]) as net:
        first = await net.client.connect(SERVICE, 7)
        first.abort()
        bridge = net.netdev.programs[0].bridge
        assert bridge is not None
        await until(lambda: not bridge.is_busy)
        chardev.type(b"for the next")
        second = await net.client.connect(SERVICE, 7)

        assert await second.read(12) == b"for the next"


async def test_chardev_that_takes_nothing_stalls_the_guest_and_loses_nothing(
    context: AioContext, chardev: MemoryChardev
) -> None:
    chardev.limit = 0
    data = bytes(range(256)) * 2000
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]) as net:
        stream = await net.client.connect(SERVICE, 7)
        await stream.write(data[:400_000])
        await until(lambda: net.netdev.connections()[0].receive_queue > 0)
        chardev.accept()
        await stream.write(data[400_000:])

        await until(lambda: len(chardev.sent) == len(data))
    assert chardev.sent == data


async def test_guest_that_takes_nothing_holds_the_chardev_back(
    context: AioContext, chardev: MemoryChardev, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guestfwd_chardev, "PIECE", 1000)
    data = bytes(range(256)) * 8000
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]) as net:
        stream = await net.client.connect(SERVICE, 7)
        net.client.pause()
        chardev.type(data)
        await until(lambda: net.netdev.connections()[0].send_queue > 100_000)
        held_back = len(chardev.untyped)
        net.client.resume()

        assert await stream.read(len(data)) == data
        assert held_back > 0


async def test_chardev_changed_is_the_one_that_is_spoken_to(context: AioContext, chardev: MemoryChardev) -> None:
    other = await MemoryChardev.make(context, "c1")
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]) as net:
        stream = await net.client.connect(SERVICE, 7)
        bridge = net.netdev.programs[0].bridge
        assert bridge is not None

        bridge.chardev_changed(other)
        await stream.write(b"x")

        await until(lambda: other.sent == b"x")
    assert chardev.sent == b""


async def test_chardev_is_left_at_the_end(context: AioContext, chardev: MemoryChardev) -> None:
    async with network(context, guestfwd=[FORWARD], chardevs=[chardev]):
        during = chardev.frontend

    assert during is not None
    assert chardev.frontend is None


async def test_chardev_of_somebody_else_is_an_error_of_one_line(context: AioContext, chardev: MemoryChardev) -> None:
    second = f"tcp:{SERVICE}:8-chardev:c0"
    made = Network(context, None, {"guestfwd": [FORWARD, second]}, {}, [chardev])

    with pytest.raises(ConfigError) as caught:
        await made.netdev.open()

    problem = "chardev 'c0' has a front end already; several share one with mux = true"
    assert str(caught.value) == f"net0.guestfwd[1]: {problem}"
