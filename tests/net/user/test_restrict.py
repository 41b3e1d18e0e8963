# SPDX-License-Identifier: GPL-2.0-or-later
"""restrict: nothing goes out but what hostfwd and guestfwd name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asyncemu.loop import AioContext
from asyncemu.net.packets import dhcp
from asyncemu.testing import until
from tests.net.user.dns_messages import query
from tests.net.user.network import DNS, HOST, echo, network, server, udp_server


@pytest.mark.parametrize("address", [HOST, DNS, "192.0.2.1"])
async def test_tcp_is_refused(context: AioContext, address: str) -> None:
    async with server(echo) as port, network(context, restrict=True) as net:
        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(address, port)


@pytest.mark.parametrize(("address", "code"), [(HOST, 3), ("192.0.2.1", 13)])
async def test_udp_is_unreachable(context: AioContext, address: str, code: int) -> None:
    heard: list[bytes] = []

    def hear(data: bytes) -> bytes:
        heard.append(data)
        return data

    async with udp_server(hear) as (_, port), network(context, restrict=True) as net:
        net.client.udp().send(address, port, b"let me out")
        await net.client.wait(lambda: bool(net.client.errors))

        assert (net.client.errors[0][:2], len(net.netdev.udp), heard) == ((3, code), 0, [])


async def test_ping_of_outside_is_prohibited(context: AioContext) -> None:
    async with network(context, restrict=True) as net:
        pinging = asyncio.create_task(net.client.ping("192.0.2.1"))
        await net.client.wait(lambda: bool(net.client.errors))
        pinging.cancel()

        assert net.client.errors[0][:2] == (3, 13)


async def test_names_of_outside_are_not_asked_for(context: AioContext) -> None:
    asked: list[bytes] = []

    def hear(data: bytes) -> bytes:
        asked.append(data)
        return data

    async with udp_server(hear) as (_, port):
        options: dict[str, Any] = {"resolvers": [f"127.0.0.1:{port}"], "hosts": {"known.test": ["10.0.2.100"]}}
        async with network(context, restrict=True, **options) as net:
            udp = net.client.udp()
            udp.send(DNS, 53, query(1, "secret.example"))
            refused = await udp.receive()
            udp.send(DNS, 53, query(2, "known.test"))
            known = await udp.receive()

            assert (refused.payload[3] & 15, known.payload[-4:], asked) == (2, bytes((10, 0, 2, 100)), [])


async def test_dhcp_tells_no_way_out(context: AioContext) -> None:
    async with network(context, restrict=True) as net:
        lease = await net.client.dhcp()

        assert (dhcp.ROUTER in lease.options, dhcp.DNS_SERVERS in lease.options) == (False, False)


async def test_services_and_forwards_stay(context: AioContext) -> None:
    options: dict[str, Any] = {"hostfwd": ["tcp::0-:80"], "guestfwd": ["tcp:10.0.2.100:7-cmd:cat -u"]}
    async with network(context, restrict=True, **options) as net:
        await net.client.dhcp()
        pong = await net.client.ping(HOST)
        stream = await net.client.connect("10.0.2.100", 7)
        await stream.write(b"meow")
        meow = await stream.read(4)
        accepted = net.client.listen(80)
        _, writer = await asyncio.open_connection(*net.door())
        await until(lambda: accepted.qsize() == 1)
        writer.close()

        assert (pong, meow) == (b"ping", b"meow")
