# SPDX-License-Identifier: GPL-2.0-or-later
"""What goes on in a user network, and doors that come and go at run time."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from asyncemu.loop import AioContext
from asyncemu.net.refusals import Refused
from asyncemu.net.user import backend
from asyncemu.net.user.connections import Connection
from asyncemu.testing import until
from asyncemu.testing.fake_clock import FakeClock
from tests.net.user.network import HOST, echo, listener, network, server, udp_server, unused_port


async def test_connection_of_the_guest_has_both_ends_and_its_state(context: AioContext) -> None:
    async with server(echo) as port, network(context) as net:
        stream = await net.client.connect(HOST, port)

        (found,) = net.netdev.connections()

        own = stream.key[1]
        assert found == Connection("TCP", "ESTABLISHED", found.fd, "10.0.2.15", own, "10.0.2.2", port)
        assert socket.socket(fileno=found.fd).detach() == found.fd


async def test_connection_whose_host_takes_nothing_has_a_receive_queue(context: AioContext) -> None:
    async with listener() as sock, network(context) as net:
        stream = await net.client.connect(HOST, sock.getsockname()[1])
        accepted, _ = sock.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writing = asyncio.create_task(stream.write(bytes(8 << 20)))

        await until(lambda: net.netdev.connections()[0].receive_queue > 0)

        writing.cancel()
        accepted.close()


async def test_connection_through_a_door_comes_from_where_the_host_listens(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp::0-:80"]) as net:
        accepted = net.client.listen(80)
        _, writer = await asyncio.open_connection(*net.door())
        await accepted.get()

        door, through = net.netdev.connections()

        host, port = net.door()
        assert door == Connection("TCP", "HOST_FORWARD", door.fd, host, port, "10.0.2.15", 80)
        assert through == Connection("TCP", "ESTABLISHED", through.fd, host, port, "10.0.2.15", 80)
        writer.close()


async def test_door_for_all_and_door_of_a_path_are_of_nobody_in_particular(context: AioContext, tmp_path: Path) -> None:
    async with network(context, hostfwd=["udp:0.0.0.0:0-:53", f"unix:{tmp_path / 'door'}-:22"]) as net:
        found = [each[:2] + each[3:4] for each in net.netdev.connections()]

        assert found == [("UDP", "HOST_FORWARD", "*"), ("TCP", "HOST_FORWARD", "*")]


async def test_udp_says_how_long_it_stays(context: AioContext) -> None:
    time = FakeClock()
    async with udp_server(bytes.upper) as (_, port), network(context, time) as net:
        sending = net.client.udp(5000)
        sending.send(HOST, port, b"hello")
        time.advance(100_000_000_000)

        (found,) = net.netdev.connections()

        assert found == Connection("UDP", "140 sec", found.fd, "10.0.2.15", 5000, "10.0.2.2", port)


async def test_hostfwd_added_at_run_time_lets_callers_in(context: AioContext) -> None:
    async with network(context) as net:
        accepted = net.client.listen(80)

        net.netdev.add_hostfwd("tcp::0-:80")

        _, writer = await asyncio.open_connection(*net.door())
        assert (await accepted.get()).core.established
        writer.close()


async def test_hostfwd_added_where_somebody_listens_is_refused(context: AioContext) -> None:
    async with listener() as sock, network(context) as net:
        rule = f"tcp:127.0.0.1:{sock.getsockname()[1]}-:22"

        with pytest.raises(Refused) as caught:
            net.netdev.add_hostfwd(rule)

        assert str(caught.value) == f"Could not set up host forwarding rule '{rule}'"


async def test_hostfwd_added_beyond_the_limit_is_refused(context: AioContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "MAX_DOORS", 1)
    async with network(context, hostfwd=["tcp::0-:80"]) as net:
        with pytest.raises(Refused, match=r"^Could not set up host forwarding rule 'tcp::0-:81': there are 1 already$"):
            net.netdev.add_hostfwd("tcp::0-:81")


async def test_hostfwd_removed_lets_nobody_in(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp::0-:80"]) as net:
        host, port = net.door()

        removed = net.netdev.remove_hostfwd(f"tcp:127.0.0.1:{port}")

        assert removed
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)


async def test_hostfwd_removed_of_udp_forgets_its_callers(context: AioContext) -> None:
    async with network(context, hostfwd=["udp::0-:7"]) as net:
        port = net.client.udp(7)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
            caller.sendto(b"hello", net.door())
            datagram = await port.receive()

            removed = net.netdev.remove_hostfwd(f"udp::{net.door()[1]}")

        assert removed
        assert datagram.payload == b"hello"
        assert net.netdev.udp.callers == {}


async def test_hostfwd_removed_that_is_not_there_says_so(context: AioContext) -> None:
    async with network(context, hostfwd=["tcp::0-:80"]) as net:
        assert not net.netdev.remove_hostfwd(f"tcp:127.0.0.1:{unused_port()}")
        assert len(net.netdev.doors) == 1
