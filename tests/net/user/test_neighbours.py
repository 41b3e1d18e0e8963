# SPDX-License-Identifier: GPL-2.0-or-later
"""Where the guest's addresses are, and what waits until that is known."""

from __future__ import annotations

from asyncemu.loop import AioContext
from asyncemu.net.packets import arp, ethernet
from asyncemu.net.user.neighbours import INTERVAL, MAX_HELD
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.net_client import MAC
from tests.net.user.network import network

OURS = bytes((10, 0, 2, 2))
GUEST = bytes((10, 0, 2, 15))


async def test_question_is_asked_once_in_a_second(context: AioContext) -> None:
    time = FakeClock()
    async with network(context, time) as net:
        stack = net.netdev.stack
        net.client.address = bytes((10, 0, 2, 16))
        for _ in range(3):
            stack.send_udp((OURS, 1), (GUEST, 1), b"x")
        first = len(net.client.arps)
        time.advance(INTERVAL)
        stack.now = stack.clock.now()
        stack.send_udp((OURS, 1), (GUEST, 1), b"x")

        assert (first, len(net.client.arps)) == (1, 2)


async def test_frames_that_waited_are_sent_when_the_guest_answers(context: AioContext) -> None:
    async with network(context) as net:
        port = net.client.udp(99)
        stack = net.netdev.stack
        net.client.pause()
        for number in range(MAX_HELD + 2):
            stack.send_udp((OURS, 1), (GUEST, 99), b"%d" % number)
        net.client.resume()
        received = [(await port.receive()).payload for _ in range(MAX_HELD)]

        assert received == [b"2", b"3", b"4", b"5"]
        assert stack.neighbours.dropped == 2


async def test_guest_that_moves_is_followed(context: AioContext) -> None:
    async with network(context) as net:
        macs = net.netdev.stack.neighbours.macs
        for mac in (MAC, b"\x52\x54\0\0\0\1"):
            packet = arp.Packet(arp.REQUEST, mac, GUEST, bytes(6), GUEST)
            net.client.inject(ethernet.Header(ethernet.BROADCAST, mac, ethernet.ARP).pack() + packet.pack())

        assert macs == {GUEST: b"\x52\x54\0\0\0\1"}


async def test_probe_for_a_free_address_teaches_nothing(context: AioContext) -> None:
    async with network(context) as net:
        packet = arp.Packet(arp.REQUEST, MAC, bytes(4), bytes(6), GUEST)
        net.client.inject(ethernet.Header(ethernet.BROADCAST, MAC, ethernet.ARP).pack() + packet.pack())

        assert net.netdev.stack.neighbours.macs == {}
