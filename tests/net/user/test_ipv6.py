# SPDX-License-Identifier: GPL-2.0-or-later
"""IPv6: the router, and the same relays."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket

import pytest

from asyncemu.loop import AioContext
from asyncemu.net.packets import dhcpv6, ipv6, ndp
from asyncemu.testing.fake_clock import FakeClock
from tests.net.user.network import HOST6, echo, network, server, udp_server


async def test_router_tells_prefix_and_dns(context: AioContext) -> None:
    async with network(context) as net:
        advertisement = await net.client.solicit_router()

        assert advertisement.lifetime == 1800
        assert advertisement.options.source_mac == bytes.fromhex("52550a000202")
        assert advertisement.options.prefixes[0][:2] == (bytes.fromhex("fec0") + bytes(14), 64)
        assert advertisement.options.dns_servers is not None
        assert advertisement.options.dns_servers.addresses == (bytes.fromhex("fec0") + bytes(13) + b"\3",)


async def test_router_advertises_by_itself(context: AioContext) -> None:
    time = FakeClock()
    async with network(context, time) as net:
        time.advance(60_000_000_000)

        assert len([each for each in net.client.discoveries if isinstance(each, ndp.RouterAdvertisement)]) >= 3


async def test_router_with_restrict_is_no_way_out(context: AioContext) -> None:
    async with network(context, restrict=True) as net:
        assert (await net.client.solicit_router()).lifetime == 0


async def test_tcp_reaches_host_loopback(context: AioContext) -> None:
    data = os.urandom(2 << 20)
    async with server(echo, "::1") as port, network(context) as net:
        stream = await net.client.connect(HOST6, port)

        async def send() -> None:
            await stream.write(data)
            stream.close()

        sending = asyncio.create_task(send())
        got = await stream.read()
        await sending

        assert hashlib.sha256(got).digest() == hashlib.sha256(data).digest()


async def test_tcp_without_offload_reaches_host_loopback(context: AioContext) -> None:
    async with server(echo, "::1") as port, network(context, client={"offload": False}) as net:
        stream = await net.client.connect(HOST6, port)
        await stream.write(b"x" * 10_000)

        assert await stream.read(10_000) == b"x" * 10_000


@pytest.mark.parametrize("offload", [True, False])
async def test_udp_reaches_host_loopback(context: AioContext, offload: bool) -> None:
    async with (
        udp_server(lambda data: data[::-1], "::1") as (_, port),
        network(context, client={"offload": offload}) as net,
    ):
        udp = net.client.udp()
        udp.send(HOST6, port, b"abc")

        assert await udp.receive() == (b"cba", HOST6, port)


async def test_udp_nobody_listens_is_port_unreachable(context: AioContext) -> None:
    async with network(context) as net:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]
        net.client.udp().send(HOST6, port, b"abc")
        await net.client.wait(lambda: bool(net.client.errors))

        assert net.client.errors[0][:2] == (1, 4)


async def test_tcp_nobody_listens_is_refused(context: AioContext) -> None:
    async with network(context) as net:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            port = probe.getsockname()[1]

        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(HOST6, port)


@pytest.mark.parametrize("address", [HOST6, "fec0::3", "fe80::5055:aff:fe00:202"])
async def test_ping_of_ours_is_answered(context: AioContext, address: str) -> None:
    async with network(context) as net:
        assert await net.client.ping(address, b"x" * 56) == b"x" * 56


async def test_long_ping_comes_back_in_fragments(context: AioContext) -> None:
    async with network(context) as net:
        pinging = asyncio.create_task(net.client.ping(HOST6, bytes(3000)))
        while len(net.client.unclaimed) < 3:
            await asyncio.sleep(0)
        pinging.cancel()

        assert [len(each) for each in net.client.unclaimed][:2] == [1510, 1510]


@pytest.mark.parametrize("address", ["::1", "::ffff:127.0.0.1", "::127.0.0.1", "ff02::1", "fe80::1"])
async def test_address_that_means_the_host_or_many_leads_nowhere(context: AioContext, address: str) -> None:
    async with server(echo, "::1") as port, network(context) as net:
        net.client.begin(address, port)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert len(net.netdev.tcp) == 0
        assert sum(net.drops.values()) == 1


async def test_dhcpv6_tells_dns_and_domains(context: AioContext) -> None:
    async with network(context, dnssearch=["example.org"]) as net:
        client = net.client
        identifier = b"\0\3\0\1" + client.mac
        options = {dhcpv6.CLIENT_IDENTIFIER: identifier, dhcpv6.OPTION_REQUEST: b"\0\x17\0\x18"}
        port = client.udp(546)
        client.send_udp_to("ff02::1:2", 547, port, dhcpv6.Message(dhcpv6.INFORMATION_REQUEST, b"abc", options).pack())
        answer = dhcpv6.parse((await port.receive()).payload)

        assert (answer.type, answer.transaction) == (dhcpv6.REPLY, b"abc")
        assert answer.options[dhcpv6.DNS_SERVERS] == bytes.fromhex("fec0") + bytes(13) + b"\3"
        assert answer.options[dhcpv6.DOMAIN_SEARCH] == b"\7example\3org\0"


async def test_hostfwd_to_guest_that_is_not_known_solicits_it(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp:[::1]:0-[fec0::5054:ff:fe12:3456]:80"]) as net:
        accepted = net.client.listen(80)
        _, writer = await asyncio.open_connection(*net.door()[:2])
        stream = await accepted.get()

        assert any(isinstance(each, ndp.NeighborSolicitation) for each in net.client.discoveries)
        assert stream.key[0] == bytes.fromhex("fec0") + bytes(6) + ipv6.interface_id(net.client.mac)
        writer.close()


async def test_off_nothing_is_answered(context: AioContext) -> None:
    async with network(context, ipv6=False) as net:
        client = net.client
        message = ndp.pack_solicitation(client.link_local, ipv6.ALL_ROUTERS, ndp.Options(source_mac=client.mac))
        client.send_discovery(client.link_local, ipv6.ALL_ROUTERS, message)

        assert (client.discoveries, net.drops) == ([], {"neither IP nor ARP": 1})
