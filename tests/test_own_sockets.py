# SPDX-License-Identifier: GPL-2.0-or-later
"""Which sockets are the emulator's own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from asyncemu import own_sockets
from asyncemu.block.nbd import address
from asyncemu.chardev.address import InetAddress


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    with socket.create_server((request.param, 0)) as sock:
        own_sockets.register(sock)
        yield sock


def test_registered_listener_is_own(listener: socket.socket) -> None:
    assert own_sockets.is_own("127.0.0.1", listener.getsockname()[1])


def test_same_port_of_another_host_is_not_own(listener: socket.socket) -> None:
    assert not own_sockets.is_own("192.0.2.1", listener.getsockname()[1])


def test_listener_that_is_closed_is_not_own(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()

    assert not own_sockets.is_own("127.0.0.1", port)


def test_unix_socket_is_no_matter(listener: socket.socket) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        own_sockets.register(sock)

        assert not own_sockets.is_own("127.0.0.1", 1)


async def test_socket_of_a_chardev_is_own() -> None:
    (sock,) = await InetAddress("127.0.0.1", 0, 0).listen(asyncio.get_running_loop())
    with sock:
        assert own_sockets.is_own("127.0.0.1", sock.getsockname()[1])


async def test_socket_of_the_nbd_server_is_own() -> None:
    (sock,) = await address.listen(address.InetAddress("127.0.0.1", "0"), 8)
    with sock:
        assert own_sockets.is_own("127.0.0.1", sock.getsockname()[1])
