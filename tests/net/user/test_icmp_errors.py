# SPDX-License-Identifier: GPL-2.0-or-later
"""Pings and datagrams of the guest that go nowhere: the host's kernel says so, and the guest hears of it.

In a network namespace of the test's own, where a neighbour that does not answer is given up quickly.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
import uvloop

from asyncemu.loop import AioContext
from asyncemu.net.packets import icmp, icmpv6, ipv4, ipv6, udp
from asyncemu.net.user.connections import Connection
from asyncemu.net.user.icmp_relay import TIMEOUT
from asyncemu.testing.net_client_udp import pack_address
from tests.net.tcp.kernel_wire import in_own_network
from tests.net.user.network import Network, network

Body: TypeAlias = Callable[[Network], Awaitable[None]]

#: On the link of the namespace, and nobody has them; and behind a route that says so at once.
ABSENT = "192.0.2.9"
ABSENT6 = "2001:db8::9"
UNREACHABLE = "198.51.100.1"
PROHIBITED = "203.0.113.1"
UNROUTED = "9.9.9.9"

LINK = """
link set lo up
link add one type veth peer name other
link set one up
link set other up
addr add 192.0.2.1/24 dev one
addr add 2001:db8::1/64 dev one nodad
ntable change name arp_cache dev one retrans 1 mcast_probes 1
ntable change name ndisc_cache dev one retrans 1 mcast_probes 1
route add unreachable 198.51.100.0/24
route add prohibit 203.0.113.0/24
"""

RAW_ONLY, PING_SOCKETS = "1 0", "0 0"


def in_namespace(body: Body, ping_groups: str = PING_SOCKETS) -> None:
    async def with_network() -> None:
        for command in LINK.strip().splitlines():
            subprocess.run(["ip", *command.split()], check=True, capture_output=True, timeout=20)
        Path("/proc/sys/net/ipv4/ping_group_range").write_text(ping_groups)
        context = AioContext(asyncio.get_running_loop(), "test")
        try:
            async with network(context) as net:
                await body(net)
        finally:
            context.worker_pool.close()
            context.close()

    def in_thread() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(with_network())

    in_own_network(in_thread)


async def error_about_ping(net: Network, address: str) -> tuple[int, int, bytes]:
    """Type, code and quoted packet of the ICMP error that comes for a ping."""
    pinging = asyncio.create_task(net.client.ping(address, b"payload", identifier=77, sequence=5))
    await net.client.wait(lambda: bool(net.client.errors))
    pinging.cancel()
    kind, code, quoted = net.client.errors[0]
    return kind, code, quoted


@pytest.mark.parametrize("ping_groups", [PING_SOCKETS, RAW_ONLY], ids=["ping-socket", "raw-socket"])
def test_ping_that_nobody_answers_for_is_host_unreachable(ping_groups: str) -> None:
    async def body(net: Network) -> None:
        kind, code, quoted = await error_about_ping(net, ABSENT)

        header = ipv4.parse(quoted)
        ping = icmp.parse(quoted, header.start, header.end)
        assert (kind, code) == (icmp.UNREACHABLE, icmp.HOST_UNREACHABLE)
        assert (header.source, header.destination) == (net.client.address, pack_address(ABSENT))
        assert (ping.type, ping.identifier, ping.sequence) == (icmp.ECHO_REQUEST, 77, 5)

    in_namespace(body, ping_groups)


@pytest.mark.parametrize("ping_groups", [PING_SOCKETS, RAW_ONLY], ids=["ping-socket", "raw-socket"])
def test_ping_over_ipv6_that_nobody_answers_for_is_address_unreachable(ping_groups: str) -> None:
    async def body(net: Network) -> None:
        kind, code, quoted = await error_about_ping(net, ABSENT6)

        header = ipv6.parse(quoted)
        ping = icmpv6.parse(quoted, header)
        assert (kind, code) == (icmpv6.UNREACHABLE, icmpv6.ADDRESS_UNREACHABLE)
        assert (header.source, header.destination) == (net.client.address6, pack_address(ABSENT6))
        assert (ping.type, ping.identifier, ping.sequence) == (icmpv6.ECHO_REQUEST, 77, 5)

    in_namespace(body, ping_groups)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (UNREACHABLE, icmp.HOST_UNREACHABLE),
        (PROHIBITED, icmp.PROHIBITED),
        (UNROUTED, icmp.NET_UNREACHABLE),
    ],
)
def test_ping_that_the_host_does_not_send_is_unreachable_at_once(address: str, expected: int) -> None:
    async def body(net: Network) -> None:
        kind, code, _ = await error_about_ping(net, address)

        assert (kind, code) == (icmp.UNREACHABLE, expected)
        assert net.drops == {"pings that the host did not send": 1}

    in_namespace(body)


def test_ping_is_listed_with_the_time_that_its_socket_has_left() -> None:
    async def body(net: Network) -> None:
        await error_about_ping(net, ABSENT)

        (found,) = net.netdev.connections()

        assert found == Connection("ICMP", found.state, found.fd, "10.0.2.15", 0, ABSENT, 0)
        assert 0 < int(found.state.removesuffix(" sec")) <= TIMEOUT // 1_000_000_000

    in_namespace(body)


def test_ping_behind_one_that_failed_is_sent() -> None:
    async def body(net: Network) -> None:
        await error_about_ping(net, ABSENT)
        net.client.errors.clear()

        kind, code, _ = await error_about_ping(net, ABSENT)

        assert (kind, code) == (icmp.UNREACHABLE, icmp.HOST_UNREACHABLE)
        assert net.drops == {}

    in_namespace(body)


@pytest.mark.parametrize(
    ("address", "expected"), [(ABSENT, (icmp.UNREACHABLE, icmp.HOST_UNREACHABLE)), (ABSENT6, (icmpv6.UNREACHABLE, 3))]
)
def test_datagram_that_nobody_answers_for_is_host_unreachable(address: str, expected: tuple[int, int]) -> None:
    async def body(net: Network) -> None:
        net.client.udp(1234).send(address, 5678, b"payload")
        await net.client.wait(lambda: bool(net.client.errors))

        kind, code, quoted = net.client.errors[0]
        header = ipv4.parse(quoted) if len(pack_address(address)) == 4 else ipv6.parse(quoted)
        datagram = udp.parse(quoted, header.start, header.end)
        assert (kind, code) == expected
        assert header.destination == pack_address(address)
        assert (datagram.source_port, datagram.destination_port) == (1234, 5678)

    in_namespace(body)
