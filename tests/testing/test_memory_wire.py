# SPDX-License-Identifier: GPL-2.0-or-later
"""Wire and MemoryNetdev: what they promise to authors."""

from __future__ import annotations

from asyncemu.loop import AioContext, Clocks
from asyncemu.net import Frame, VnetHeader, connect
from asyncemu.net.frame import NEEDS_CHECKSUM
from asyncemu.testing.memory_wire import MemoryNetdev, MemoryNetdevOptions, Offloads, Wire

FRAMES = [bytes([number]) * 60 for number in range(3)]


def pair(context: AioContext) -> tuple[Wire, Wire]:
    wires = Wire(context, "one"), Wire(context, "other")
    connect(*wires)
    return wires


async def test_feed_arrives_as_copies_with_headers(context: AioContext) -> None:
    one, other = pair(context)
    memory = bytearray(FRAMES[0])
    vnet = VnetHeader(NEEDS_CHECKSUM)

    one.feed(Frame.of(memory, vnet=vnet), FRAMES[1])
    memory[:] = bytes(60)

    assert other.frames == FRAMES[:2]
    assert [frame.vnet for frame in other.received] == [vnet, VnetHeader()]


async def test_room_limits_what_is_taken_until_accept(context: AioContext) -> None:
    one, other = pair(context)
    other.room = 1
    one.feed(*FRAMES)
    counts = [len(other.frames)]
    for room in (1, None):
        other.accept(room)
        counts.append(len(other.frames))

    assert counts == [1, 2, 3]
    assert not one.unsent


async def test_carriers_and_offloads_are_noted(context: AioContext) -> None:
    one, other = pair(context)

    one.set_link(False)
    one.peer_offloads(True, False, True, False, True)

    assert other.carriers == [True, False]
    assert one.offloads == Offloads(True, False, True, False, True)


async def test_netdev_has_a_wire_for_each_queue(context: AioContext) -> None:
    netdev = MemoryNetdev(MemoryNetdevOptions(queues=2, vnet_hdr=False), "net0", context, Clocks())
    device = Wire(context)
    connect(netdev.wires[1], device)

    device.feed(FRAMES[0])
    netdev.wires[1].feed(FRAMES[1])

    assert netdev.ports == tuple(netdev.wires)
    assert (netdev.wires[1].frames, device.frames) == (FRAMES[:1], FRAMES[1:2])
    assert not any(port.has_vnet_header for port in netdev.ports)
