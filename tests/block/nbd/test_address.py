# SPDX-License-Identifier: GPL-2.0-or-later
"""Listening and connecting, and QEMU's words where that fails."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from asyncemu.block.nbd.address import InetAddress, UnixAddress, connect, listen
from asyncemu.errors import ConfigError


async def test_unix_connects_to_who_listens(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a.sock"))
    (listener,) = await listen(address, 1)
    with listener, await connect(address) as connection:
        accepted, _ = listener.accept()
        with accepted:
            assert connection.getpeername() == address.path


async def test_unix_replaces_what_a_dead_server_has_left(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a.sock"))
    (first,) = await listen(address, 1)
    first.close()
    (second,) = await listen(address, 1)
    with second:
        (await connect(address)).close()


async def test_unix_waits_for_room_in_the_queue(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a.sock"))
    (listener,) = await listen(address, 0)
    with listener, await connect(address):
        waiting = asyncio.ensure_future(connect(address))
        await asyncio.sleep(0)
        assert not waiting.done()
        listener.accept()[0].close()
        (await waiting).close()


async def test_inet_listens_at_one_port_for_all_addresses() -> None:
    listeners = await listen(InetAddress("localhost", "0"), 1)
    ports = {listener.getsockname()[1] for listener in listeners}
    assert len(ports) == 1
    (await connect(InetAddress("localhost", str(ports.pop())))).close()
    for listener in listeners:
        listener.close()


async def test_inet_that_is_taken_has_qemus_words() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = InetAddress("127.0.0.1", str(taken.getsockname()[1]))
        with pytest.raises(ConfigError, match=r"^server: Failed to find an available port: Address already in use$"):
            await listen(address, 1)


async def test_unix_that_is_not_to_be_had_has_qemus_words(tmp_path: Path) -> None:
    path = tmp_path / "none" / "a.sock"
    with pytest.raises(ConfigError, match=rf"^server: Failed to bind socket to {path}: No such file or directory$"):
        await listen(UnixAddress(str(path)), 1)
    with pytest.raises(ConfigError, match=rf"^server: Failed to unlink socket {tmp_path}: Is a directory$"):
        await listen(UnixAddress(str(tmp_path)), 1)


async def test_connect_that_is_cancelled_leaves_nothing_open(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "a.sock"))
    (listener,) = await listen(address, 0)
    with listener, await connect(address):
        waiting = asyncio.ensure_future(connect(address))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
