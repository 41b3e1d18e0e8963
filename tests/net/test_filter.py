# SPDX-License-Identifier: GPL-2.0-or-later
"""NetFilter: the ways of frames past the filters of a link."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncemu.loop import AioContext, Clocks
from asyncemu.net import FilterOptions, Frame, Frames, NetFilter, Way, connect, place
from asyncemu.testing.memory_wire import Wire


class Marks(NetFilter[FilterOptions]):
    """Appends its id to each frame, and may take only some."""

    room = 1000

    def pass_on(self, frames: Frames, way: Way) -> int:
        taken = min(self.room, len(frames))
        self.room -= taken
        marked = [Frame.of(frame.tobytes() + self.id.encode()) for frame in frames[:taken]]
        return way.forward(marked) if marked else 0


Make = Callable[..., Marks]


@pytest.fixture
def make(context: AioContext) -> Make:
    clocks = Clocks()

    def make(id: str, **options: str) -> Marks:
        return Marks(FilterOptions.model_validate({"netdev": "net0", **options}), id, context, clocks.virtual)

    return make


@pytest.fixture
def netdev(context: AioContext) -> Wire:
    return Wire(context, "netdev")


@pytest.fixture
def device(context: AioContext, netdev: Wire) -> Wire:
    device = Wire(context, "device")
    connect(device, netdev)
    return device


async def test_frames_of_the_netdev_pass_from_head_to_tail(make: Make, netdev: Wire, device: Wire) -> None:
    place(netdev, [make("a"), make("b"), make("c")])

    netdev.feed(b"> ")

    assert device.frames == [b"> abc"]


async def test_frames_to_the_netdev_pass_from_tail_to_head(make: Make, netdev: Wire, device: Wire) -> None:
    place(netdev, [make("a"), make("b"), make("c")])

    device.feed(b"< ")

    assert netdev.frames == [b"< cba"]


async def test_filter_of_one_queue_sees_one_direction(make: Make, netdev: Wire, device: Wire) -> None:
    place(netdev, [make("r", queue="rx"), make("t", queue="tx")])

    netdev.feed(b"> ")
    device.feed(b"< ")

    assert device.frames == [b"> t"]
    assert netdev.frames == [b"< r"]


async def test_filter_that_is_off_is_passed_by(make: Make, netdev: Wire, device: Wire) -> None:
    off = make("off", status="off")
    place(netdev, [off, make("on")])

    netdev.feed(b"> ")

    assert device.frames == [b"> on"]
    assert off.ways == []


async def test_filter_that_takes_less_leaves_the_rest_to_the_sender(make: Make, netdev: Wire, device: Wire) -> None:
    slow = make("s")
    slow.room = 1
    place(netdev, [make("f"), slow])

    netdev.feed(b"1", b"2")
    assert device.frames == [b"1fs"]
    slow.room = 10
    slow.ways[0].ready()

    assert device.frames == [b"1fs", b"2fs"]


async def test_room_at_the_end_is_told_to_the_sender_past_the_filters(make: Make, netdev: Wire, device: Wire) -> None:
    place(netdev, [make("a"), make("b")])
    device.room = 0
    netdev.feed(b"1")

    device.accept()

    assert device.frames == [b"1ab"]
    assert not netdev.unsent


async def test_forward_without_a_cable_loses_frames(make: Make, netdev: Wire, device: Wire) -> None:
    filter = make("a")
    place(netdev, [filter])
    device.set_link(False)

    assert filter.ways[0].forward([Frame.of(b"1")]) == 1

    assert device.frames == []


async def test_place_of_none_takes_all_filters_off(make: Make, netdev: Wire, device: Wire) -> None:
    place(netdev, [make("a")])
    place(netdev, [])

    netdev.feed(b"1")
    device.feed(b"2")

    assert device.frames == [b"1"]
    assert netdev.frames == [b"2"]


async def test_place_without_a_device_places_nothing(make: Make, context: AioContext) -> None:
    filter = make("a")

    place(Wire(context), [filter])

    assert filter.ways == []
