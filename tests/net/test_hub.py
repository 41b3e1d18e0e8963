# SPDX-License-Identifier: GPL-2.0-or-later
"""Hubs, and the netdev hubport."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext, Clocks
from asyncemu.net import connect
from asyncemu.net.hub import PORT_FRAMES, hub_of
from asyncemu.net.hubport import Hubport, HubportOptions
from asyncemu.testing.memory_wire import MemoryNetdev, MemoryNetdevOptions, Offloads, Wire
from tests.net.frames import is_whole, numbered, unfinished


class Bench:
    """A hub with a wire at each of its ports."""

    def __init__(self, context: AioContext) -> None:
        self.context = context
        self.clocks = Clocks()
        self.ports: list[Hubport] = []

    async def port(self, hub: int = 0, has_vnet_header: bool = True) -> Wire:
        port = await self.open(f"port{len(self.ports)}", hubid=hub)
        wire = Wire(self.context, has_vnet_header=has_vnet_header)
        connect(wire, port)
        return wire

    async def open(self, id: str, netdev: Any = None, **options: Any) -> Hubport:
        port = Hubport(HubportOptions(netdev=netdev.id if netdev else "", **options), id, self.context, self.clocks)
        if netdev is not None:
            port.netdev = netdev
        await port.open()
        self.ports.append(port)
        return port


@pytest.fixture
def bench(context: AioContext) -> Bench:
    return Bench(context)


async def test_frame_leaves_at_all_other_ports(bench: Bench) -> None:
    wires = [await bench.port() for _ in range(3)]

    wires[1].feed(b"a" * 60, b"b" * 60)

    assert [wire.frames for wire in wires] == [[b"a" * 60, b"b" * 60], [], [b"a" * 60, b"b" * 60]]


async def test_hubs_of_other_numbers_and_machines_are_others(bench: Bench, context: AioContext) -> None:
    other_machine = Bench(context)
    one = await bench.port(0)
    others = [await bench.port(1), await other_machine.port(0)]

    one.feed(b"a" * 60)

    assert [wire.frames for wire in others] == [[], []]
    assert hub_of(bench.clocks, 0) is not hub_of(other_machine.clocks, 0)


async def test_hubs_end_with_their_machine() -> None:
    clocks = Clocks()
    hub = weakref.ref(hub_of(clocks, 0))

    del clocks
    gc.collect()

    assert hub() is None


async def test_port_alone_loses_frames(bench: Bench) -> None:
    wire = await bench.port()

    wire.feed(b"a" * 60)

    assert not wire.unsent


async def test_full_port_does_not_hold_up_another(bench: Bench) -> None:
    sender, full, free = [await bench.port() for _ in range(3)]
    full.room = 0

    sender.feed(*map(numbered, range(10)))

    assert (len(free.frames), len(sender.unsent)) == (10, 0)
    full.accept()
    assert full.frames == free.frames


async def test_full_port_queue_is_bounded(bench: Bench) -> None:
    sender, full, free = [await bench.port() for _ in range(3)]
    full.room = 0

    sender.feed(*map(numbered, range(PORT_FRAMES + 7)))
    full.accept()

    assert len(free.frames) == PORT_FRAMES + 7
    assert full.frames == free.frames[:PORT_FRAMES]
    port = bench.ports[1].end
    assert port is not None and port.queue.dropped == 7


async def test_all_ports_full_frames_stay_the_senders(bench: Bench) -> None:
    sender, *others = [await bench.port() for _ in range(3)]
    for wire in others:
        wire.room = 0

    sender.feed(*map(numbered, range(5)))
    waiting = len(sender.unsent)
    others[1].accept()

    assert waiting == 4
    assert (others[1].frames, len(sender.unsent)) == ([numbered(number) for number in range(5)], 0)


async def test_port_without_a_cable_sets_no_pace(bench: Bench) -> None:
    sender, full = [await bench.port() for _ in range(2)]
    await bench.open("empty", hubid=0)
    unplugged = await bench.port()
    unplugged.set_link(False)
    full.room = 0

    sender.feed(*map(numbered, range(5)))

    assert len(sender.unsent) == 4


async def test_full_port_that_is_unplugged_holds_nobody_up(bench: Bench) -> None:
    sender, full = [await bench.port() for _ in range(2)]
    full.room = 0
    sender.feed(*map(numbered, range(5)))

    full.set_link(False)
    full.accept()
    full.set_link(True)
    sender.feed(numbered(5))

    assert not sender.unsent
    assert full.frames == [numbered(5)]


async def test_full_port_that_leaves_holds_nobody_up(bench: Bench) -> None:
    sender, full = [await bench.port() for _ in range(2)]
    full.room = 0
    sender.feed(*map(numbered, range(5)))

    await bench.ports[1].close()

    assert not sender.unsent


async def test_unfinished_frame_is_finished_for_plain_peers_only(bench: Bench) -> None:
    sender, able = [await bench.port() for _ in range(2)]
    plain = await bench.port(has_vnet_header=False)
    frame = unfinished(b"x" * 2500)

    sender.feed(frame)

    assert [(each.tobytes(), each.vnet) for each in able.received] == [(frame.tobytes(), frame.vnet)]
    assert len(plain.frames) == 3
    assert all(map(is_whole, plain.frames))


async def test_offloads_are_what_all_guests_take(bench: Bench) -> None:
    one, other, backend = [await bench.port() for _ in range(3)]

    bench.ports[0].peer_offloads(True, True, True, False, False)
    bench.ports[1].peer_offloads(True, False, True, False, True)

    assert backend.offloads == Offloads(True, False, True, False, False)
    assert (one.offloads, other.offloads) == (
        Offloads(True, False, True, False, True),
        Offloads(True, True, True, False, False),
    )


async def test_netdev_plugged_into_a_port(bench: Bench, context: AioContext) -> None:
    netdev = MemoryNetdev(MemoryNetdevOptions(), "net0", context, bench.clocks)
    wire = await bench.port()
    port = await bench.open("tapped", netdev=netdev, hubid=0)

    wire.feed(b"a" * 60)
    netdev.feed(b"b" * 60)

    assert (netdev.frames, wire.frames) == ([b"a" * 60], [b"b" * 60])
    await port.close()
    assert netdev.peer is None


@pytest.mark.parametrize("queues", [1, 2])
async def test_netdev_that_can_t_be_plugged_in_is_an_error(bench: Bench, context: AioContext, queues: int) -> None:
    netdev = MemoryNetdev(MemoryNetdevOptions(queues=queues), "net0", context, bench.clocks)
    connect(netdev, Wire(context))

    with pytest.raises(ConfigError) as caught:
        await bench.open("port0", netdev=netdev, hubid=0)

    assert (
        str(caught.value)
        == {
            1: "port0: net0 is connected to wire already",
            2: "port0: netdev 'net0' has several queues; use one without",
        }[queues]
    )


async def test_ports_of_a_hub_share_a_home() -> None:
    assert HubportOptions(hubid=3).home_group() == HubportOptions(hubid=3).home_group() != ""
