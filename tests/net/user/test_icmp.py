# SPDX-License-Identifier: GPL-2.0-or-later
"""ICMP: echo, errors, and fragments."""

from __future__ import annotations

import asyncio
import socket

import pytest

from asyncemu.loop import AioContext
from asyncemu.net.packets import icmp, ipv4, udp
from asyncemu.net.packets.fragments import IPV4_TIMEOUT, cut_ipv4
from asyncemu.net.user.icmp_relay import TIMEOUT, open_socket
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.net_client import frames_of
from asyncemu.testing.net_client_udp import pack_address
from tests.net.user.network import DNS, HOST, network, udp_server


@pytest.mark.parametrize("address", [HOST, DNS])
async def test_ping_of_ours_is_answered(context: AioContext, address: str) -> None:
    async with network(context) as net:
        assert await net.client.ping(address, b"x" * 56) == b"x" * 56


async def test_ping_of_neighbour_that_is_not_there_is_host_unreachable(context: AioContext) -> None:
    async with network(context) as net:
        pinging = asyncio.create_task(net.client.ping("10.0.2.77"))
        await net.client.wait(lambda: bool(net.client.errors))
        pinging.cancel()

        assert net.client.errors[0][:2] == (3, 1)


def address_of_host() -> str | None:
    """One of its own that is not loopback: answered by the kernel, without a network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address


async def test_ping_of_outside_is_answered_by_who_is_there(context: AioContext) -> None:
    opened = open_socket(socket.AF_INET)
    address = address_of_host()
    if opened is None or address is None:
        pytest.skip("the host allows no pings, or has no network")
    opened[0].close()
    async with network(context) as net:
        assert await net.client.ping(address, b"x" * 56, identifier=99, sequence=3) == b"x" * 56


async def test_ping_socket_that_is_idle_is_closed(context: AioContext) -> None:
    opened = open_socket(socket.AF_INET)
    if opened is None:
        pytest.skip("the host allows no pings")
    opened[0].close()
    time = FakeClock()
    async with network(context, time) as net:
        pinging = asyncio.create_task(net.client.ping("192.0.2.200"))
        await asyncio.sleep(0)
        before = len(net.netdev.icmp)
        time.advance(2 * TIMEOUT)
        pinging.cancel()

        assert (before, len(net.netdev.icmp)) == (1, 0)


async def test_ping_that_the_host_does_not_allow_is_counted(
    context: AioContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncemu.net.user.icmp_relay.open_socket", lambda family: None)
    async with network(context) as net:
        pinging = asyncio.create_task(net.client.ping("192.0.2.200"))
        await asyncio.sleep(0)
        pinging.cancel()

        assert net.drops == {"pings, which the host does not allow": 1}


async def test_unknown_protocol_is_unreachable(context: AioContext) -> None:
    async with network(context) as net:
        net.client.send_ip(net.client.address, pack_address(HOST), 47, b"GRE, say")
        await net.client.wait(lambda: bool(net.client.errors))

        assert net.client.errors[0][:2] == (3, 2)
        assert net.drops == {"IP protocol 47": 1}


async def test_no_error_about_an_error(context: AioContext) -> None:
    async with network(context) as net:
        client = net.client
        quoted = ipv4.Header(pack_address(HOST), client.address, 17).pack(8) + bytes(8)
        client.send_ip(client.address, bytes((10, 0, 2, 77)), icmp.PROTOCOL, icmp.error(3, 3, quoted))
        await asyncio.sleep(0)

        assert client.errors == []


async def test_fragments_in_any_order_are_one_datagram(context: AioContext) -> None:
    async with udp_server(lambda data: b"%d" % len(data)) as (_, port), network(context) as net:
        client = net.client
        listening = client.udp(1234)
        datagram = udp.pack(client.address, pack_address(HOST), 1234, port, b"x" * 4000)
        header = ipv4.Header(client.address, pack_address(HOST), 17, identification=7)
        fragments = cut_ipv4(header, datagram, 1000)
        client.inject(*frames_of(reversed(fragments), client.mac, client.gateway_mac))

        assert (await listening.receive()).payload == b"4000"


async def test_fragments_without_their_rest_are_given_up_in_time(context: AioContext) -> None:
    time = FakeClock()
    async with network(context, time) as net:
        client = net.client
        header = ipv4.Header(client.address, pack_address(HOST), 17, identification=7)
        first = cut_ipv4(header, bytes(4000), 1000)[:1]
        client.inject(*frames_of(first, client.mac, client.gateway_mac))
        time.advance(IPV4_TIMEOUT + 10_000_000)

        assert client.errors[0][:2] == (11, 1)
        assert net.drops == {"fragments that were not all there in time": 1}
