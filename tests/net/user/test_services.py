# SPDX-License-Identifier: GPL-2.0-or-later
"""The servers of the user network, as the guest sees them: ARP, DHCP, DNS, TFTP."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext
from asyncemu.net.packets import dhcp, tftp
from asyncemu.net.user.dns import ATTEMPTS
from asyncemu.net.user.dns import TIMEOUT as DNS_TIMEOUT
from asyncemu.net.user.dns_service import LOOK_INTERVAL, DnsService, host_resolvers
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.net_client import NetClient
from tests.net.user.dns_messages import query, response
from tests.net.user.network import DNS, DNS6, HOST, Network, network, udp_server


@pytest.mark.parametrize("address", [HOST, DNS])
async def test_arp_for_ours_is_answered(context: AioContext, address: str) -> None:
    async with network(context) as net:
        assert await net.client.arp(address) == bytes.fromhex("52550a000202")


async def test_arp_for_others_is_not_answered(context: AioContext) -> None:
    async with network(context) as net:
        asking = asyncio.create_task(net.client.arp("10.0.2.77"))
        await net.client.arp(HOST)
        asking.cancel()

        assert [each.sender_address[-1] for each in net.client.arps] == [2]


async def test_dhcp_gives_qemus_addresses(context: AioContext) -> None:
    async with network(context) as net:
        lease = await net.client.dhcp()

        assert (lease.your, lease.options[dhcp.ROUTER], lease.options[dhcp.DNS_SERVERS]) == (
            bytes((10, 0, 2, 15)),
            bytes((10, 0, 2, 2)),
            bytes((10, 0, 2, 3)),
        )


async def test_dhcp_tells_what_the_options_say(context: AioContext) -> None:
    options: dict[str, Any] = {
        "net": "192.168.76.0/24",
        "dhcpstart": "192.168.76.9",
        "hostname": "guest",
        "domainname": "example.org",
        "bootfile": "vmlinux",
        "tftp_server_name": "server",
    }
    async with network(context, **options) as net:
        net.client.gateway_mac = net.netdev.addresses.mac
        lease = await net.client.dhcp()

        assert lease.your == bytes((192, 168, 76, 9))
        assert lease.server == bytes((192, 168, 76, 2))
        assert lease.file == b"vmlinux"
        told = [dhcp.HOST_NAME, dhcp.DOMAIN_NAME, dhcp.TFTP_SERVER_NAME]
        assert [lease.options[option] for option in told] == [b"guest", b"example.org", b"server"]


async def test_dhcp_fixed_lease_is_given(context: AioContext) -> None:
    async with network(context, leases={"52:54:00:12:34:56": "10.0.2.99"}) as net:
        assert (await net.client.dhcp()).your == bytes((10, 0, 2, 99))


async def test_dns_question_goes_to_the_resolver(context: AioContext) -> None:
    async with (
        udp_server(lambda asked: response(asked, b"\xc0\0\2\7")) as (_, port),
        network(context, resolvers=[f"127.0.0.1:{port}"]) as net,
    ):
        udp = net.client.udp()
        udp.send(DNS, 53, query(0x1234, "www.example.org"))
        answer = await udp.receive()

        assert answer == (response(query(0x1234, "www.example.org"), b"\xc0\0\2\7"), DNS, 53)


async def test_dns_question_over_ipv6_goes_to_the_resolver(context: AioContext) -> None:
    async with (
        udp_server(lambda asked: response(asked, b"\xc0\0\2\7")) as (_, port),
        network(context, resolvers=[f"127.0.0.1:{port}"]) as net,
    ):
        udp = net.client.udp()
        udp.send(DNS6, 53, query(0x1234, "www.example.org"))
        answer = await udp.receive()

        assert (answer.payload[-4:], answer.address) == (b"\xc0\0\2\7", DNS6)


async def test_dns_over_tcp_reaches_the_resolver(context: AioContext) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(2))

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = running.sockets[0].getsockname()[1]
    async with network(context, resolvers=[f"127.0.0.1:{port}"]) as net:
        stream = await net.client.connect(DNS, 53)
        await stream.write(b"\0\0")

        assert await stream.read(2) == b"\0\0"
        stream.abort()
    running.close()


async def test_dns_resolver_that_is_silent_fails_in_the_end(context: AioContext) -> None:
    time = FakeClock()
    async with network(context, time, resolvers=["192.0.2.1"]) as net:
        udp = net.client.udp()
        udp.send(DNS, 53, query(9, "www.example.org"))
        time.advance(ATTEMPTS * DNS_TIMEOUT + 10_000_000)

        assert (await udp.receive()).payload[:4] == b"\0\x09\x81\x82"


async def test_dns_of_host_that_has_moved_is_asked(context: AioContext, tmp_path: Path) -> None:
    time = FakeClock()
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.1\n")
    async with network(context, time) as net:
        resolvers = host_resolvers(file)
        dns = DnsService(net.netdev.stack, {}, resolvers, file)
        net.netdev.udp.services[bytes((10, 0, 2, 3)), 53] = dns.receive
        file.write_text("nameserver 127.0.0.53\n")
        os.utime(file, ns=(1, 1))
        time.advance(LOOK_INTERVAL)
        net.client.udp().send(DNS, 53, query(1, "www.example.org"))
        dns.close()

        assert resolvers == [("127.0.0.53", 53)]


async def test_dns_name_of_the_table_is_answered(context: AioContext) -> None:
    async with network(context, hosts={"build.test": ["10.0.2.2", "fec0::2"]}) as net:
        udp = net.client.udp()
        udp.send(DNS, 53, query(1, "build.test"))

        assert (await udp.receive()).payload[-4:] == bytes((10, 0, 2, 2))


async def get(client: NetClient, name: str, *options: bytes) -> bytes:
    """A file by TFTP. FileNotFoundError: the server's error."""
    port = client.udp()
    port.send(HOST, 69, b"\0\1" + name.encode() + b"\0octet\0" + b"".join(option + b"\0" for option in options))
    data = b""
    block_size = int(options[1]) if options else 512
    while True:
        packet, _, server = await port.receive()
        kind, block = int.from_bytes(packet[:2], "big"), packet[2:4]
        if kind == tftp.ERROR:
            raise FileNotFoundError(packet[4:-1].decode())
        port.send(HOST, server, b"\0\4" + (block if kind == tftp.DATA else b"\0\0"))
        if kind == tftp.DATA:
            data += packet[4:]
            if len(packet) - 4 < block_size:
                return data


@pytest.mark.parametrize("options", [(), (b"blksize", b"1400")])
async def test_tftp_file_arrives_as_it_is(context: AioContext, tmp_path: Path, options: tuple[bytes, ...]) -> None:
    content = os.urandom(300_000)
    (tmp_path / "boot").mkdir()
    (tmp_path / "boot" / "vmlinux").write_bytes(content)
    async with network(context, tftp=str(tmp_path)) as net:
        assert await get(net.client, "boot/vmlinux", *options) == content


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing", "File not found"),
        ("../secret", "Access violation"),
        ("link", "Access violation"),
        ("boot", "File not found"),
    ],
)
async def test_tftp_what_is_no_file_below_the_folder_is_refused(
    context: AioContext, tmp_path: Path, name: str, problem: str
) -> None:
    folder = tmp_path / "tftp"
    (folder / "boot").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    async with network(context, tftp=str(folder)) as net:
        with pytest.raises(FileNotFoundError, match=problem):
            await get(net.client, name)


async def test_tftp_folder_that_is_not_there_is_an_error_of_one_line(context: AioContext, tmp_path: Path) -> None:
    made = Network(context, None, {"tftp": str(tmp_path / "none")}, {})

    with pytest.raises(ConfigError) as caught:
        await made.netdev.open()

    assert str(caught.value) == f"net0.tftp: {tmp_path}/none: no such folder"


async def test_tftp_without_a_folder_is_unreachable(context: AioContext) -> None:
    async with network(context) as net:
        net.client.udp().send(HOST, 69, b"\0\1x\0octet\0")
        await net.client.wait(lambda: bool(net.client.errors))

        assert net.client.errors[0][:2] == (3, 3)
