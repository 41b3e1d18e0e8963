# SPDX-License-Identifier: GPL-2.0-or-later
"""Wires shared with QEMU: each of ours at one port of QEMU's hub, a plain socket's or another of ours at the other.

    ours ── QEMU's netdev a ── QEMU's hub ── QEMU's netdev b ── ours

QEMU runs without a machine; what comes out has passed through its own framing twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from asyncemu.loop import AioContext
from asyncemu.net import NetBackend
from asyncemu.net.dgram import Dgram
from asyncemu.net.socket import Socket
from asyncemu.net.stream import Stream
from asyncemu.socket_address import Inet
from asyncemu.testing.memory_wire import Wire
from tests.net.frames import numbered
from tests.net.peers import opened

QEMU = ["qemu-system-riscv64", "-machine", "none", "-display", "none", "-monitor", "none", "-nodefaults"]


def netdev_of(wire: Wire) -> Any:
    assert isinstance(wire.peer, NetBackend)
    return wire.peer


def free_port(kind: socket.SocketKind = socket.SOCK_DGRAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def qemu(*netdevs: str, more: tuple[str, ...] = ()) -> AsyncIterator[None]:
    """QEMU with a hub that joins ``netdevs``."""
    arguments = [*QEMU, *more]
    for number, netdev in enumerate(netdevs):
        arguments += ["-netdev", f"{netdev},id=n{number}", "-netdev", f"hubport,id=p{number},hubid=0,netdev=n{number}"]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


async def pass_frames(one: Wire, other: Wire, count: int = 200) -> None:
    """Frames pass from one to the other, whole and in order; the first ones until QEMU is ready."""
    async with asyncio.timeout(30):
        while not other.received:
            one.feed(numbered(0))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    while not other.received:
                        await asyncio.sleep(0)
        frames = [numbered(number, 60 + number * 7) for number in range(1, count)]
        # In pieces that fit any socket: when one is full, QEMU's stream sends a later frame first.
        for start in range(0, len(frames), 8):
            one.feed(*frames[start : start + 8])
            while frames[start : start + 8][-1] not in other.frames[-8:]:
                await asyncio.sleep(0.001)
    assert [frame for frame in other.frames if frame != numbered(0)] == frames


@asynccontextmanager
async def ours(kind: type[NetBackend[Any]], context: AioContext, **options: Any) -> AsyncIterator[Wire]:
    wire = await opened(kind, context, **options)
    try:
        yield wire
    finally:
        await netdev_of(wire).close()


def port_of(wire: Wire) -> int:
    address = netdev_of(wire).end.address
    assert isinstance(address, Inet)
    return address.port


async def test_qemu_connects_to_our_servers(context: AioContext, tmp_path: Path) -> None:
    addr = {"type": "unix", "path": str(tmp_path / "wire")}
    async with (
        ours(Socket, context, listen="127.0.0.1:0") as one,
        ours(Stream, context, addr=addr, server=True) as other,
    ):
        qemus_stream = f"stream,addr.type=unix,addr.path={tmp_path}/wire"
        async with qemu(f"socket,connect=127.0.0.1:{port_of(one)}", qemus_stream):
            await pass_frames(one, other)
            one.received.clear()
            await pass_frames(other, one)


async def test_we_connect_to_qemus_servers(context: AioContext) -> None:
    ports = [free_port(socket.SOCK_STREAM) for _ in range(2)]
    async with qemu(
        f"socket,listen=127.0.0.1:{ports[0]}",
        f"stream,server=on,addr.type=inet,addr.host=127.0.0.1,addr.port={ports[1]}",
    ):
        addrs = [{"type": "inet", "host": "127.0.0.1", "port": port} for port in ports]
        async with (
            ours(Stream, context, addr=addrs[0], reconnect=0.05) as one,
            ours(Stream, context, addr=addrs[1], reconnect=0.05) as other,
        ):
            await pass_frames(one, other)


async def test_we_exchange_datagrams_with_qemu(context: AioContext, tmp_path: Path) -> None:
    mine, theirs = free_port(), free_port()
    unix = [{"type": "unix", "path": str(tmp_path / name)} for name in ("mine", "theirs")]
    async with (
        ours(Socket, context, udp=f"127.0.0.1:{theirs}", localaddr=f"127.0.0.1:{mine}") as one,
        ours(Dgram, context, local=unix[0], remote=unix[1]) as other,
        qemu(
            f"dgram,local.type=inet,local.host=127.0.0.1,local.port={theirs},"
            f"remote.type=inet,remote.host=127.0.0.1,remote.port={mine}",
            f"dgram,local.type=unix,local.path={tmp_path}/theirs,remote.type=unix,remote.path={tmp_path}/mine",
        ),
    ):
        await pass_frames(one, other, 100)
        one.received.clear()
        await pass_frames(other, one, 100)


async def test_qemus_mirror_is_understood(context: AioContext, tmp_path: Path) -> None:
    # What QEMU's filter-mirror sends over its chardev is a stream as any.
    async with ours(Stream, context, addr={"type": "inet", "host": "127.0.0.1", "port": 0}, server=True) as one:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            mirror = (
                *("-chardev", f"socket,id=c0,host=127.0.0.1,port={listener.getsockname()[1]}"),
                *("-object", "filter-mirror,id=m0,netdev=n0,queue=tx,outdev=c0"),
            )
            server = f"stream,addr.type=inet,addr.host=127.0.0.1,addr.port={port_of(one)}"
            # Somebody has to be at the hub's other port.
            listener_to_all = f"dgram,local.type=unix,local.path={tmp_path}/1,remote.type=unix,remote.path={tmp_path}/2"
            async with qemu(server, listener_to_all, more=mirror):
                listener.setblocking(False)
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                with connection:
                    fd = connection.detach()
                    async with ours(Stream, context, addr={"type": "fd", "str": fd}) as other:
                        await pass_frames(one, other)
