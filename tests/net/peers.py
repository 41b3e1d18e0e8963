# SPDX-License-Identifier: GPL-2.0-or-later
"""The other ends of sockets that back ends have, without waiting by the clock."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from asyncemu.loop import AioContext, Clocks
from asyncemu.net import NetBackend, connect
from asyncemu.testing.memory_wire import Wire


def framed(*frames: bytes) -> bytes:
    """As they are in a stream."""
    return b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)


async def read(connection: socket.socket, length: int) -> bytes:
    """So many bytes."""
    data = b""
    async with asyncio.timeout(20):
        while len(data) < length:
            received = await asyncio.get_running_loop().sock_recv(connection, length - len(data))
            assert received, f"the end after {data!r}"
            data += received
    return data


async def opened(kind: type[NetBackend[Any]], context: AioContext, id: str = "net0", **options: Any) -> Wire:
    """The guest's end of a netdev that is open; the netdev is its peer."""
    netdev = kind(kind.options_type.model_validate(options), id, context, Clocks())  # type: ignore[attr-defined]
    wire = Wire(context)
    connect(wire, netdev)
    await netdev.open()
    return wire
