# SPDX-License-Identifier: GPL-2.0-or-later
"""UDP of the guest to the host's sockets."""

from __future__ import annotations

import asyncio
import socket

import pytest

from asyncemu.loop import AioContext
from asyncemu.net.user.udp_relay import DNS_TIMEOUT, MAX_FLOWS, TIMEOUT
from asyncemu.testing import until
from asyncemu.testing.fake_clock import FakeClock
from tests.net.user.network import HOST, network, udp_server

MS = 1_000_000


def reverse(data: bytes) -> bytes:
    return data[::-1]


@pytest.mark.parametrize("offload", [True, False])
async def test_datagram_is_answered_from_the_address_it_was_sent_to(context: AioContext, offload: bool) -> None:
    async with udp_server(reverse) as (_, port), network(context, client={"offload": offload}) as net:
        udp = net.client.udp()
        udp.send(HOST, port, b"abc")

        assert await udp.receive() == (b"cba", HOST, port)


@pytest.mark.parametrize("length", [0, 1, 1472, 1473, 9000, 65507])
async def test_datagram_of_any_length_reaches_the_host_and_comes_back(context: AioContext, length: int) -> None:
    async with udp_server(lambda data: b"%d" % len(data)) as (_, port), network(context) as net:
        udp = net.client.udp()
        udp.send(HOST, port, b"x" * length)

        assert (await udp.receive()).payload == b"%d" % length


async def test_datagram_longer_than_the_mtu_arrives_in_fragments(context: AioContext) -> None:
    async with udp_server(lambda data: bytes(5000)) as (_, port), network(context) as net:
        net.client.udp().send(HOST, port, b"?")
        await until(lambda: len(net.client.unclaimed) == 4)

        assert [len(each) for each in net.client.unclaimed] == [1514, 1514, 1514, 14 + 20 + 5008 - 3 * 1480]


async def test_one_socket_for_a_port_whatever_it_sends_to(context: AioContext) -> None:
    async with udp_server(reverse) as (_, one), udp_server(reverse) as (_, other), network(context) as net:
        udp = net.client.udp()
        udp.send(HOST, one, b"ab")
        first = await udp.receive()
        udp.send(HOST, other, b"cd")
        second = await udp.receive()

        assert (first, second) == ((b"ba", HOST, one), (b"dc", HOST, other))
        assert len(net.netdev.udp) == 1


async def test_nobody_listens_is_port_unreachable(context: AioContext) -> None:
    async with network(context) as net:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        udp = net.client.udp()
        udp.send(HOST, port, b"abcdefgh")
        await net.client.wait(lambda: bool(net.client.errors))

        error = net.client.errors[0]
        assert error[:2] == (3, 3)
        assert (
            error.quoted[20:]
            == udp.port.to_bytes(2, "big") + port.to_bytes(2, "big") + error.quoted[24:28] + b"abcdefgh"
        )


async def test_socket_goes_on_behind_errors(context: AioContext) -> None:
    async with udp_server(reverse) as (_, port), network(context) as net:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            nobody = probe.getsockname()[1]
        udp = net.client.udp()
        for count in (1, 2):
            udp.send(HOST, nobody, b"x")
            await net.client.wait(lambda count=count: len(net.client.errors) == count)  # type: ignore[misc]

        udp.send(HOST, port, b"abc")

        assert (await udp.receive()).payload == b"cba"


async def test_stranger_is_not_let_in(context: AioContext) -> None:
    async with udp_server(reverse) as (_, port), network(context) as net:
        udp = net.client.udp()
        udp.send(HOST, port, b"abc")
        await udp.receive()
        (flow,) = net.netdev.udp.flows
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.2", 0))
            stranger.sendto(b"hello", ("127.0.0.1", flow.sock.getsockname()[1]))
        await until(lambda: bool(net.drops))

        assert (net.drops, udp.waiting) == ({"UDP that nobody has asked for": 1}, 0)


@pytest.mark.parametrize(("port", "timeout"), [(53, DNS_TIMEOUT), (5300, TIMEOUT)])
async def test_idle_socket_is_closed(context: AioContext, port: int, timeout: int) -> None:
    time = FakeClock()
    async with network(context, time) as net:
        # To an address of documentation (RFC 5737): nobody answers.
        net.client.udp().send("192.0.2.1", port, b"?")
        time.advance(timeout - 10 * MS)
        before = len(net.netdev.udp)
        time.advance(20 * MS)

        assert (before, len(net.netdev.udp)) == (1, 0)


async def test_socket_in_use_stays(context: AioContext) -> None:
    time = FakeClock()
    async with network(context, time) as net:
        udp = net.client.udp()
        for _ in range(3):
            udp.send("192.0.2.1", 5300, b"?")
            time.advance(TIMEOUT - 10 * MS)

        assert len(net.netdev.udp) == 1


async def test_many_ports_keep_a_bounded_number_of_sockets(context: AioContext) -> None:
    async with udp_server(reverse) as (_, port), network(context) as net:
        for number in range(MAX_FLOWS + 50):
            net.client.udp(10_000 + number).send(HOST, port, b"x")

        assert len(net.netdev.udp) == MAX_FLOWS


async def test_full_guest_leaves_datagrams_in_the_socket(context: AioContext) -> None:
    async with udp_server(reverse) as (_, port), network(context) as net:
        udp = net.client.udp()
        net.client.pause()
        udp.send(HOST, port, *(b"%d" % number for number in range(10, 20)))
        await until(lambda: not net.netdev.stack.output.is_free)
        waiting = udp.waiting
        net.client.resume()
        received = [await udp.receive() for _ in range(10)]

        assert waiting == 0
        assert [each.payload for each in received] == [b"%d1" % (number - 10) for number in range(10, 20)]


@pytest.mark.parametrize("address", ["224.0.0.251", "255.255.255.255", "10.0.2.255"])
async def test_datagram_to_all_is_dropped(context: AioContext, address: str) -> None:
    async with network(context) as net:
        net.client.udp().send(address, 5353, b"?")
        await asyncio.sleep(0)

        assert (net.drops, len(net.netdev.udp)) == ({"UDP to all": 1}, 0)


async def test_last_hop_is_told_where_it_ended(context: AioContext) -> None:
    from asyncemu.net.packets import ipv4, udp

    async with network(context) as net:
        client = net.client
        destination = bytes((192, 0, 2, 1))
        datagram = udp.pack(client.address, destination, 1000, 33434, b"traceroute")
        header = ipv4.Header(client.address, destination, udp.PROTOCOL, ttl=1).pack(len(datagram))
        client.inject(client.gateway_mac + client.mac + b"\x08\0" + header + datagram)
        await client.wait(lambda: bool(client.errors))

        assert client.errors[0][:2] == (11, 0)
