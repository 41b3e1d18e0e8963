# SPDX-License-Identifier: GPL-2.0-or-later
"""Connections on which nothing happens for hours."""

from __future__ import annotations

import asyncio
import socket

import pytest

from asyncemu.loop import AioContext
from asyncemu.net.user.keep_alive import IDLE, INTERVAL, QUESTIONS
from asyncemu.testing.fake_clock import FakeClock
from tests.net.user.network import HOST, Network, listener, network


async def pass_time(net: Network, ns: int) -> None:
    """In steps, with time for the guest to answer in between."""
    assert net.time is not None
    for _ in range(ns // INTERVAL):
        net.time.advance(INTERVAL)
        for _ in range(4):
            await asyncio.sleep(0)


async def accepted(net: Network, sock: socket.socket) -> socket.socket:
    """The host's end of a connection of the guest."""
    await net.client.connect(HOST, sock.getsockname()[1])
    connection, _ = sock.accept()
    connection.setblocking(False)
    return connection


async def test_guest_that_is_there_keeps_its_connection(context: AioContext) -> None:
    async with listener() as sock, network(context, FakeClock()) as net:
        connection = await accepted(net, sock)

        await pass_time(net, 3 * IDLE)

        assert len(net.netdev.tcp) == 1
        with connection, pytest.raises(BlockingIOError):
            connection.recv(1)


async def test_guest_that_has_forgotten_it_says_so_when_it_is_asked(context: AioContext) -> None:
    async with listener() as sock, network(context, FakeClock()) as net:
        connection = await accepted(net, sock)
        net.client.streams.clear()

        await pass_time(net, IDLE + 2 * INTERVAL)

        assert len(net.netdev.tcp) == 0
        connection.close()


async def test_guest_that_does_not_answer_loses_it(context: AioContext) -> None:
    async with listener() as sock, network(context, FakeClock()) as net:
        connection = await accepted(net, sock)
        net.client.set_link(False)
        await pass_time(net, IDLE)
        before = len(net.netdev.tcp)

        await pass_time(net, (QUESTIONS + 1) * INTERVAL)

        assert (before, len(net.netdev.tcp)) == (1, 0)
        with connection, pytest.raises(ConnectionResetError):
            connection.recv(1)


async def test_host_is_asked_by_its_kernel(context: AioContext) -> None:
    async with listener() as sock, network(context) as net:
        connection = await accepted(net, sock)
        (relay,) = net.netdev.tcp.connections

        assert relay.sock is not None
        assert relay.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        connection.close()


async def test_nothing_is_looked_at_without_connections(context: AioContext) -> None:
    async with network(context, FakeClock()) as net:
        before = len(net.netdev.stack.deadlines)

        await pass_time(net, INTERVAL)

        assert len(net.netdev.stack.deadlines) == before
