# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports whose nodes live in iothreads: clients are served there."""

from __future__ import annotations

import asyncio
from pathlib import Path

from asyncemu.block import BlockGraph, move_nodes
from asyncemu.block.nbd.address import UnixAddress
from asyncemu.block.nbd.export import NbdExport, export_backend
from asyncemu.block.nbd.server import NbdServer
from asyncemu.loop import AioContext, IOThread
from tests.block.nbd.conftest import MEMORY_DISK
from tests.block.nbd.peer import Peer
from tests.iothreads import iothreads as iothreads


async def test_export_in_an_iothread_is_served_there(
    iothreads: list[IOThread], graph: BlockGraph, context: AioContext, tmp_path: Path
) -> None:
    home = iothreads[0].aio_context
    node = await graph.add_table({**MEMORY_DISK, "node-name": "node"}, "blockdev")
    await move_nodes(node, home)
    backend = export_backend("disk", home, writable=True)
    await home.call(lambda: backend.insert(node))
    server = NbdServer(context)
    server.add(NbdExport("disk", backend))
    path = tmp_path / "server.sock"
    await server.listen(UnixAddress(str(path)))

    peers = [await Peer.connect(path) for _ in range(3)]
    for number, peer in enumerate(peers):
        assert (await peer.do(1, 4096 * number, 4096, data=bytes([number]) * 4096)).error == 0
    for number, peer in enumerate(peers):
        reply = await peer.do(0, 4096 * number, 4096)
        assert reply.chunks[0][2][8:] == bytes([number]) * 4096

    await asyncio.wait_for(server.close(), 10)
    assert [await peer.ended() for peer in peers] == [True] * 3
    await home.call(backend.remove)
    for peer in peers:
        peer.close()
