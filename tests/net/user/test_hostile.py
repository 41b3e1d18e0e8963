# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that sends anything: nothing is raised, nothing grows without bound, and others are still served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.loop import AioContext
from asyncemu.net import Frame, VnetHeader
from asyncemu.net.packets import arp, ethernet, icmp, ipv4, ipv6, tcp, udp
from asyncemu.net.packets.fragments import MAX_BYTES, MAX_PACKETS
from asyncemu.net.tcp import Segment
from asyncemu.net.user.neighbours import MAX_ASKED, MAX_NEIGHBOURS
from asyncemu.net.user.output import MAX_FRAMES
from asyncemu.net.user.stack import MAX_KINDS
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.net_client import MAC, frames_of
from tests.net.user.network import HOST, network

GATEWAY_MAC = bytes.fromhex("52550a000202")
GUEST = bytes((10, 0, 2, 15))
GUEST6 = b"\xfe\xc0" + bytes(6) + ipv6.interface_id(MAC)
OURS = bytes((10, 0, 2, 2))
OURS6 = b"\xfe\xc0" + bytes(13) + b"\2"

#: Nothing that leaves this machine: ours, the network's, documentation's, groups, loopback.
TARGETS = [OURS, bytes((10, 0, 2, 3)), bytes((10, 0, 2, 77)), bytes((127, 0, 0, 1)), ipv4.BROADCAST, bytes(4)]
TARGETS6 = [OURS6, OURS6[:-1] + b"\3", bytes(15) + b"\1", ipv6.ALL_NODES, bytes(16), GUEST6]

ports = st.sampled_from([0, 1, 53, 67, 69, 546, 547, 65535])
payloads = st.binary(max_size=80)


@st.composite
def ip_packets(draw: st.DrawFn) -> bytes:
    """A packet whose layers are what they should be, or nearly so."""
    is_ipv4 = draw(st.booleans())
    source = draw(st.sampled_from([GUEST, bytes(4), ipv4.BROADCAST, OURS] if is_ipv4 else [GUEST6, bytes(16), OURS6]))
    destination = draw(st.sampled_from(TARGETS if is_ipv4 else TARGETS6))
    payload = draw(payloads)
    kind = draw(st.sampled_from(["udp", "tcp", "icmp", "raw"]))
    protocol = draw(st.integers(0, 255))
    if kind == "udp":
        protocol, data = 17, udp.pack(source, destination, draw(ports), draw(ports), payload)
    elif kind == "tcp":
        segment = Segment(
            draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 255)), 9
        )
        protocol, data = 6, tcp.pack(source, destination, (draw(ports), draw(ports)), segment, payload)
    elif kind == "icmp":
        protocol = 1 if is_ipv4 else 58
        data = icmp.pack(draw(st.integers(0, 255)), draw(st.integers(0, 255)), 0, payload)
    else:
        data = payload
    if is_ipv4:
        fragment = draw(st.sampled_from([0, 0x2000, 0x2001, 1, 0x1FFF]))
        return ipv4.Header(source, destination, protocol, draw(st.integers(0, 255)), fragment).pack(len(data)) + data
    return ipv6.Header(source, destination, protocol, draw(st.integers(0, 255))).pack(len(data)) + data


def damaged(frame: bytes, change: tuple[int, int] | None, cut: int) -> bytes:
    """With one byte changed, and the end cut off."""
    if change is not None:
        at, value = change
        frame = frame[: at % len(frame)] + bytes((value,)) + frame[at % len(frame) + 1 :]
    return frame[: max(1, len(frame) - cut)]


frames = st.one_of(
    st.binary(min_size=1, max_size=200),
    st.builds(
        lambda kind, rest: GATEWAY_MAC + MAC + kind + rest,
        st.sampled_from([b"\x08\0", b"\x86\xdd", b"\x08\x06"]),
        payloads,
    ),
    st.builds(
        damaged,
        ip_packets().map(lambda packet: frames_of([packet], MAC, GATEWAY_MAC)[0]),
        st.none() | st.tuples(st.integers(0, 200), st.integers(0, 255)),
        st.integers(0, 3),
    ),
)
vnets = st.one_of(
    st.just(VnetHeader()),
    st.builds(
        VnetHeader,
        st.integers(0, 255),
        st.sampled_from([0, 1, 3, 4, 5, 0x81]),
        st.integers(0, 65535),
        st.integers(0, 65535),
        st.integers(0, 65535),
        st.integers(0, 65535),
    ),
)


@settings(max_examples=150)
@given(st.lists(st.tuples(frames, vnets), max_size=30))
def test_any_frames_raise_nothing_and_a_ping_is_still_answered(flood: list[tuple[bytes, VnetHeader]]) -> None:
    async def run() -> bytes:
        context = AioContext(asyncio.get_running_loop(), "test")
        try:
            # No resolvers, and none of the addresses is outside: nothing leaves this machine.
            async with network(context, FakeClock(), resolvers=["127.0.0.1:9"]) as net:
                net.client.inject(*[Frame.of(data, vnet=vnet) for data, vnet in flood])
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                return await net.client.ping(HOST, b"still there?")
        finally:
            context.close()

    assert uvloop.run(run()) == b"still there?"


def ethernet_frame(kind: int, payload: bytes, source: bytes = MAC, destination: bytes = GATEWAY_MAC) -> bytes:
    return ethernet.Header(destination, source, kind).pack() + payload


async def test_many_addresses_of_a_guest_are_bounded(context: AioContext) -> None:
    async with network(context) as net:
        for number in range(4 * MAX_NEIGHBOURS):
            sender = bytes((10, 1, *divmod(number, 256)))
            packet = arp.Packet(arp.REQUEST, MAC, sender, bytes(6), OURS)
            net.client.inject(ethernet_frame(ethernet.ARP, packet.pack()))

        assert len(net.netdev.stack.neighbours.macs) == MAX_NEIGHBOURS


async def test_guest_that_claims_our_address_does_not_get_it(context: AioContext) -> None:
    async with network(context) as net:
        packet = arp.Packet(arp.REPLY, MAC, OURS, GATEWAY_MAC, OURS)
        net.client.inject(ethernet_frame(ethernet.ARP, packet.pack()))

        assert net.netdev.stack.neighbours.macs == {}


async def test_fragments_that_are_never_whole_are_bounded(context: AioContext) -> None:
    async with network(context) as net:
        for number in range(10 * MAX_PACKETS):
            header = ipv4.Header(GUEST, OURS, 17, fragment=0x2000, identification=number)
            net.client.inject(*frames_of([header.pack(1400) + bytes(1400)], MAC, GATEWAY_MAC))

        assert net.netdev.stack.reassembly.nbytes <= MAX_BYTES
        assert len(net.netdev.stack.reassembly) <= MAX_PACKETS


async def test_answers_that_are_not_fetched_are_bounded(context: AioContext) -> None:
    async with network(context) as net:
        net.client.pause()
        for _ in range(3 * MAX_FRAMES):
            message = icmp.echo(icmp.ECHO_REQUEST, 1, 1, b"x")
            net.client.send_ip(GUEST, OURS, icmp.PROTOCOL, message)

        assert net.netdev.stack.output.dropped == 2 * MAX_FRAMES


async def test_reasons_to_drop_are_bounded(context: AioContext) -> None:
    async with network(context) as net:
        for number in range(2 * MAX_KINDS):
            net.netdev.stack.drop(f"reason {number}")

        assert len(net.drops) <= MAX_KINDS + 1


async def test_callers_for_many_guests_that_do_not_answer_are_bounded(context: AioContext) -> None:
    async with network(context) as net:
        for number in range(4 * MAX_ASKED):
            net.netdev.stack.send_udp((OURS, 1), (bytes((10, 0, 2, 100 + number)), 1), b"x")

        assert len(net.netdev.stack.neighbours.held) == MAX_ASKED


async def test_half_open_connections_are_bounded(context: AioContext) -> None:
    async with network(context, max_connections=20) as net:
        for number in range(100):
            segment = Segment(number, 0, 2, 1000)
            data = tcp.pack(GUEST, OURS, (1000 + number, 9), segment)
            net.client.send_ip(GUEST, OURS, 6, data)

        assert len(net.netdev.tcp) <= 20


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + b"\xff", lambda data: data[:16] + b"\0\0" + data[18:]])
async def test_wrong_checksum_is_dropped(context: AioContext, damage: Callable[[bytes], bytes]) -> None:
    async with network(context) as net:
        data = tcp.pack(GUEST, OURS, (1000, 9), Segment(1, 0, 2, 1000), b"payload")
        net.client.send_ip(GUEST, OURS, 6, damage(data))

        assert (net.drops, len(net.netdev.tcp)) == ({"checksum is wrong": 1}, 0)


async def test_frames_of_other_stations_are_not_looked_at(context: AioContext) -> None:
    async with network(context) as net:
        net.client.inject(ethernet_frame(ethernet.IPV4, b"not for you", destination=b"\x02\0\0\0\0\1"))

        assert net.drops == {}


async def test_cable_that_is_pulled_forgets_the_guest(context: AioContext) -> None:
    async with network(context) as net:
        await net.client.ping(HOST)
        before = len(net.netdev.stack.neighbours.macs)
        net.netdev.set_link(False)

        assert (before, len(net.netdev.stack.neighbours.macs)) == (1, 0)
