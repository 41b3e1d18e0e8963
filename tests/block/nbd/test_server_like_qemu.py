# SPDX-License-Identifier: GPL-2.0-or-later
"""The same bytes to our server and to qemu-nbd: the same bytes come back."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.block.nbd.conftest import Serve
from tests.block.nbd.peer import Peer, Reply, counted, info, meta
from tests.block.nbd.programs import running

MIB = 1 << 20


@pytest.fixture
async def both(serve: Serve, tmp_path: Path) -> AsyncIterator[tuple[Path, Path]]:
    """Where ours and where QEMU's server listens; each has a copy of the same file as ``exp``."""
    data = random.Random(5).randbytes(8192)
    for name in ("ours", "qemus"):
        with (tmp_path / name).open("wb") as file:
            file.write(data)
            file.truncate(MIB)
    table = {"driver": "raw", "discard": "unmap", "file": {"driver": "file", "filename": str(tmp_path / "ours")}}
    served = await serve("exp", table, export={"description": "descr", "allocation_depth": True})
    socket = tmp_path / "qemu.sock"
    command = ["qemu-nbd", "-t", "-e", "0", "-f", "raw", "--discard=unmap", "-A", "-x", "exp", "-D", "descr"]
    async with running(*command, "-k", socket, tmp_path / "qemus"):
        yield served.path, socket


OPTIONS = [
    (3, b""),
    (3, b"xx"),
    (4, b""),
    (77, b"abc"),
    (5, b""),
    (5, b"x"),
    (8, b"x"),
    (9, meta(b"exp")),
    (10, meta(b"exp", b"base:allocation")),
    (8, b""),
    (8, b""),
    *(
        (option, meta(b"exp", *queries))
        for option in (9, 10)
        for queries in (
            (),
            (b"base:",),
            (b"base:allocation",),
            (b"base:x",),
            (b"qemu:",),
            (b"qemu:allocation-depth",),
            (b"qemu:dirty-bitmap:",),
            (b"qemu:dirty-bitmap:b",),
            (b"zork",),
            (b"x-a:b",),
            (b"",),
            (b"base:allocation", b"base:allocation"),
            (b"qemu:allocation-depth", b"base:allocation"),
            (b"b" * 5000, b"base:allocation"),
        )
    ),
    (10, meta(b"nope", b"base:allocation")),
    (10, meta(b"exp", b"base:allocation")[:-3]),
    (10, b""),
    (10, counted(b"exp") + struct.pack(">I", 5)),
    (10, struct.pack(">I", 9999) + b"exp"),
    (10, struct.pack(">I", 99) + b"exp"),
    *(
        (option, data)
        for option in (6, 7)
        for data in (
            info(b"nope"),
            b"",
            struct.pack(">I", 9999) + b"exp",
            struct.pack(">I", 99) + b"exp",
            info(b"exp") + b"z",
            counted(b"exp") + struct.pack(">H", 5),
            info(b"a" * 300),
            info(b"a" * 5000),
            info(b'a\nb\xff"z'),
        )
    ),
    (6, info(b"exp")),
    (6, info(b"exp", 0, 1, 2, 3, 77)),
    (7, info(b"exp", 1)),
]


async def test_options_get_the_same_replies(both: tuple[Path, Path]) -> None:
    ours, qemus = [await Peer.dial(path) for path in both]
    for option, data in OPTIONS:
        assert await ours.ask(option, data) == await qemus.ask(option, data), (option, data[:50])


@pytest.mark.parametrize("flags", [0, 1, 3])
async def test_export_name_gets_the_same_reply(both: tuple[Path, Path], flags: int) -> None:
    replies = []
    for path in both:
        peer = await Peer.dial(path, client_flags=flags)
        await peer.send(struct.pack(">QII", 0x49484156454F5054, 1, 3) + b"exp")
        replies.append(await peer.exactly(10 if flags & 2 else 134))
    assert replies[0] == replies[1]


async def test_abort_gets_the_same_reply(both: tuple[Path, Path]) -> None:
    ours, qemus = [await Peer.dial(path) for path in both]
    assert await ours.ask(2) == await qemus.ask(2)


#: (command, offset, length, flags, data).
REQUESTS = [
    (0, MIB - 10, 20, 0, b""),
    (0, 0, 0, 0, b""),
    (0, 0, 0, 4, b""),
    (0, 0, 4, 2, b""),
    (0, 0, (32 << 20) + 1, 0, b""),
    (0, 0, 32 << 20, 0, b""),
    (0, 4000, 3000, 4, b""),
    (0, 4000, 6000, 4, b""),
    (0, 0, 100_000, 0, b""),
    (0, 10_000, 100_000, 0, b""),
    (0, 0, 4, 1, b""),
    (1, 0, 0, 0, b""),
    (1, 100, 3, 1, b"abc"),
    (1, 100, 3, 2, b"abc"),
    (3, 0, 0, 0, b""),
    (3, 5, 6, 0, b""),
    (3, 0, 2 * MIB, 0, b""),
    (7, 0, MIB, 0, b""),
    (7, 0, MIB, 8, b""),
    (7, 5, 100, 0, b""),
    (7, 0, 0, 0, b""),
    (7, 1, MIB, 0, b""),
    (4, MIB, 1, 0, b""),
    (4, MIB, 0, 0, b""),
    (4, 4096, 4096, 0, b""),
    (0, 0, 100_000, 0, b""),
    (7, 0, MIB, 0, b""),
    (5, 0, MIB, 0, b""),
    (5, 0, MIB + 1, 0, b""),
    (5, 0, (32 << 20) + 1, 0, b""),
    (6, 65536, 65536, 0, b""),
    (6, 131072, 65536, 18, b""),
    (6, 3, 5, 0, b""),
    (6, 0, 0, 0, b""),
    (9, 0, 0, 0, b""),
    (9, MIB, 1, 0, b""),
    (9, 0, 0, 32, b""),
    (8, 0, 0, 0, b""),
    (0, 0, 4096, 0, b""),
]


@pytest.mark.parametrize("structured", [True, False])
async def test_requests_get_the_same_replies(both: tuple[Path, Path], structured: bool) -> None:
    contexts = (b"base:allocation", b"qemu:allocation-depth") if structured else ()
    peers = [await Peer.connect(path, b"exp", structured=structured, contexts=contexts) for path in both]
    for command, offset, length, flags, data in REQUESTS:
        replies = await asyncio.gather(
            *(_reply(peer, structured, command, offset, length, flags, data) for peer in peers)
        )
        assert replies[0] == replies[1], (command, offset, length, flags)


async def _reply(
    peer: Peer, structured: bool, command: int, offset: int, length: int, flags: int, data: bytes
) -> tuple[Reply, bytes]:
    reply = await peer.do(command, offset, length, flags=flags, data=data)
    has_data = command == 0 and not structured and not reply.error
    return reply, await peer.exactly(length) if has_data else b""
