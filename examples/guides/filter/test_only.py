# SPDX-License-Identifier: GPL-2.0-or-later
"""Only, on a link whose ends are the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from only import Only, OnlyOptions

from asyncemu.net import connect, place
from asyncemu.testing import DeviceBench
from asyncemu.testing.memory_wire import Wire

HEAD = b"guest!other!"
IPV4, IPV6 = HEAD + b"\x08\x00...", HEAD + b"\x86\xdd..."


@pytest.fixture
async def bench() -> AsyncIterator[DeviceBench]:
    async with DeviceBench() as bench:
        yield bench


@pytest.fixture
def ends(bench: DeviceBench) -> tuple[Wire, Wire]:
    """The netdev's end and the device's, with the filter between them."""
    netdev, device = Wire(bench.context, "netdev"), Wire(bench.context, "device")
    connect(device, netdev)
    place(netdev, [Only(OnlyOptions(netdev="netdev"), "only0", bench.context, bench.clocks.virtual)])
    return netdev, device


async def test_ipv4_passes_and_ipv6_does_not(ends: tuple[Wire, Wire]) -> None:
    netdev, device = ends

    netdev.feed(IPV4, IPV6, b"short", IPV4)

    assert device.frames == [IPV4, IPV4]


async def test_frames_that_the_guest_does_not_take_come_again(ends: tuple[Wire, Wire]) -> None:
    netdev, device = ends
    device.room = 0
    netdev.feed(IPV4, IPV6)
    assert list(netdev.unsent)

    device.accept()

    assert (device.frames, list(netdev.unsent)) == ([IPV4], [])
