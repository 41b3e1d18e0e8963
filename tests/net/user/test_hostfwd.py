# SPDX-License-Identifier: GPL-2.0-or-later
"""Doors of the host that lead to the guest."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from asyncemu.errors import NetError
from asyncemu.loop import AioContext
from asyncemu.net.user.forwards import parse_hostfwd
from asyncemu.testing import until
from tests.net.user.network import HOST, HOST6, listener, network


async def test_tcp_caller_reaches_guest_as_the_host(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp::0-:80"]) as net:
        accepted = net.client.listen(80)
        reader, writer = await asyncio.open_connection(*net.door())
        stream = await accepted.get()
        writer.write(b"question")
        question = await stream.read(8)
        await stream.write(b"answer")
        stream.close()

        assert (question, await reader.read()) == (b"question", b"answer")
        assert stream.key[2:] == (bytes((10, 0, 2, 2)), writer.get_extra_info("sockname")[1])
        writer.close()


async def test_tcp_guest_refuses_caller_is_reset(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp::0-:80"]) as net:
        reader, writer = await asyncio.open_connection(*net.door())

        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_tcp_caller_before_the_guest_is_known_asks_for_it(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp::0-10.0.2.15:80"]) as net:
        accepted = net.client.listen(80)
        _, writer = await asyncio.open_connection(*net.door())
        stream = await accepted.get()

        assert stream.core.established
        assert net.netdev.stack.neighbours.macs == {net.client.address: net.client.mac}
        writer.close()


async def test_tcp_without_guest_address_goes_to_who_has_a_lease(context: AioContext) -> None:
    leases = {"52:54:00:12:34:56": "10.0.2.99"}
    async with network(context, hostfwd=["tcp::0-:80"], leases=leases) as net:
        await net.client.dhcp()
        accepted = net.client.listen(80)
        _, writer = await asyncio.open_connection(*net.door())

        assert (await accepted.get()).key[0] == bytes((10, 0, 2, 99))
        writer.close()


async def test_udp_caller_gets_the_guests_answer(context: AioContext) -> None:
    async with network(context, hostfwd=["udp::0-:69"]) as net:
        await net.client.dhcp()
        port = net.client.udp(69)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            caller.setblocking(False)
            caller.connect(net.door())
            caller.send(b"question")
            question = await port.receive()
            port.send(question.address, question.port, b"answer")

            assert question == (b"question", HOST, caller.getsockname()[1])
            assert await asyncio.get_running_loop().sock_recv(caller, 100) == b"answer"


async def test_udp_callers_are_told_apart(context: AioContext) -> None:
    async with network(context, hostfwd=["udp::0-:69"]) as net:
        await net.client.dhcp()
        port = net.client.udp(69)
        callers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
        for number, caller in enumerate(callers):
            caller.setblocking(False)
            caller.connect(net.door())
            caller.send(b"%d" % number)
        for _ in callers:
            question = await port.receive()
            port.send(question.address, question.port, question.payload)

        assert [await asyncio.get_running_loop().sock_recv(each, 100) for each in callers] == [b"0", b"1", b"2"]
        for caller in callers:
            caller.close()


async def test_unix_caller_reaches_guest(context: AioContext, tmp_path: Path) -> None:
    path = tmp_path / "guest.sock"
    async with network(context, hostfwd=[f"unix:{path}-:80"]) as net:
        accepted = net.client.listen(80)
        reader, writer = await asyncio.open_unix_connection(path)
        stream = await accepted.get()
        await stream.write(b"hello")

        assert await reader.read(5) == b"hello"
        writer.close()
    assert not path.exists()


async def test_unix_socket_is_for_its_owner_only(context: AioContext, tmp_path: Path) -> None:
    async with network(context, hostfwd=[f"unix:{tmp_path / 'guest.sock'}-:80"]):
        assert (tmp_path / "guest.sock").stat().st_mode & 0o777 == 0o600


async def test_ipv6_caller_reaches_guests_ipv6_address(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp:[::1]:0-[fec0::5054:ff:fe12:3456]:80"]) as net:
        accepted = net.client.listen(80)
        _, writer = await asyncio.open_connection(*net.door()[:2])
        stream = await accepted.get()

        assert stream.key[2] == socket.inet_pton(socket.AF_INET6, HOST6)
        writer.close()


async def test_many_callers_at_once_all_get_in(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp::0-:80"]) as net:
        accepted = net.client.listen(80)
        callers = await asyncio.gather(*(asyncio.open_connection(*net.door()) for _ in range(100)))
        await until(lambda: accepted.qsize() == 100)
        for _, writer in callers:
            writer.close()


async def test_port_that_is_taken_is_an_error_of_one_line(context: AioContext) -> None:
    async with listener() as sock, network(context) as net:
        port = sock.getsockname()[1]

        with pytest.raises(NetError) as caught:
            net.netdev.open_door(parse_hostfwd(f"tcp:127.0.0.1:{port}-:22"))

        assert str(caught.value) == f"net0: hostfwd tcp:127.0.0.1:{port}: Address already in use"


async def test_empty_host_address_listens_on_loopback_only(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp::0-:22", "udp::0-:22"]) as net:
        assert [door.sock.getsockname()[0] for door in net.netdev.doors] == ["127.0.0.1"] * 2
