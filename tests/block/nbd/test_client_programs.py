# SPDX-License-Identifier: GPL-2.0-or-later
"""The driver with other people's servers: qemu-nbd and nbdkit."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import (
    FUA,
    MAY_UNMAP,
    NO_FALLBACK,
    PERM_CONSISTENT_READ,
    PERM_WRITE,
    STATUS_ALLOCATED,
    STATUS_DATA,
    STATUS_ZERO,
)
from asyncemu.block.nbd import driver
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import Clock
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.fake_clock import FakeClock
from tests.block.nbd.programs import running

MIB = 1 << 20
SIZE = 4 * MIB


@contextlib.asynccontextmanager
async def opened(graph: BlockGraph, socket: Path, **options: Any) -> AsyncIterator[BlockBackend]:
    """An export of the server at ``socket`` as a disk."""
    table = {"driver": "nbd", "server": {"type": "unix", "path": str(socket)}, "discard": "unmap", **options}
    node = await graph.add_table(table, "blockdev")
    permissions = PERM_CONSISTENT_READ | (0 if node.read_only else PERM_WRITE)
    backend = BlockBackend("disk", node.context, permissions)
    await backend.insert(node)
    try:
        yield backend
    finally:
        await backend.remove()
        await graph.remove(node)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """``disk.raw``: 1 MiB of data, and a hole up to SIZE."""
    path = tmp_path / "disk.raw"
    path.write_bytes(random.Random(3).randbytes(MIB))
    with path.open("r+b") as file:
        file.truncate(SIZE)
    return path


def qemu_nbd(socket: Path, disk: Path, *arguments: str) -> list[str]:
    """Its command line."""
    return ["qemu-nbd", "-t", "-f", "raw", "--discard=unmap", "-x", "exp", *arguments, "-k", str(socket), str(disk)]


def nbdkit(socket: Path, *arguments: str) -> list[str]:
    """Its command line."""
    return ["nbdkit", "-f", "-U", str(socket), *arguments]


async def exercise(disk: BlockBackend) -> None:
    """Writes of all kinds, and what must be read then."""
    model = bytearray(await disk.pread(0, SIZE))
    rng = random.Random(11)
    for _ in range(40):
        offset = rng.randrange(0, SIZE - 70_000) // 512 * 512
        length = rng.choice((512, 4096, 65536))
        match rng.randrange(4):
            case 0:
                data = rng.randbytes(length)
                half = memoryview(data)[: length // 2], memoryview(data)[length // 2 :]
                await disk.pwritev(offset, Buffers(half), FUA)
                model[offset : offset + length] = data
            case 1:
                await disk.write_zeroes(offset, length, MAY_UNMAP)
                model[offset : offset + length] = bytes(length)
            case 2:
                await disk.write_zeroes(offset, length, FUA)
                model[offset : offset + length] = bytes(length)
            case _:
                assert await disk.pread(offset, length) == model[offset : offset + length]
    await disk.flush()
    assert await disk.pread(0, SIZE) == model


async def test_qemu_nbd_serves_a_disk(graph: BlockGraph, disk: Path, tmp_path: Path) -> None:
    socket = tmp_path / "server.sock"
    async with running(*qemu_nbd(socket, disk)), opened(graph, socket, export="exp") as backend:
        assert backend.size == SIZE
        await exercise(backend)
        expected = bytes(await backend.pread(0, SIZE))
    assert disk.read_bytes() == expected


@pytest.mark.parametrize(
    "arguments",
    [
        ("memory", "4M"),
        ("--filter=nozero", "memory", "4M", "zeromode=none"),
        ("--filter=fua", "memory", "4M", "fuamode=emulate"),
        ("--filter=noextents", "memory", "4M"),
        ("--no-sr", "memory", "4M"),
        ("-n", "memory", "4M"),
        ("--filter=delay", "memory", "4M", "rdelay=1ms", "wdelay=1ms"),
        ("--filter=blocksize-policy", "memory", "4M", "blocksize-minimum=512", "blocksize-error-policy=error"),
    ],
    ids=" ".join,
)
async def test_nbdkit_of_all_kinds_serves_a_disk(graph: BlockGraph, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    socket = tmp_path / "server.sock"
    async with running(*nbdkit(socket, *arguments)), opened(graph, socket) as backend:
        assert backend.size == SIZE
        await exercise(backend)


async def test_oldstyle_server_is_read(graph: BlockGraph, tmp_path: Path) -> None:
    socket = tmp_path / "server.sock"
    command = nbdkit(socket, "-o", "-r", "pattern", "4M")
    async with running(*command), opened(graph, socket, **{"read-only": True}) as backend:
        assert backend.size == SIZE
        assert await backend.pread(4096, 8) == (4096).to_bytes(8, "big")


async def test_block_status_is_that_of_the_server(graph: BlockGraph, disk: Path, tmp_path: Path) -> None:
    socket = tmp_path / "server.sock"
    async with running(*qemu_nbd(socket, disk)), opened(graph, socket, export="exp") as backend:
        first = await backend.block_status(0, SIZE)
        second = await backend.block_status(MIB, SIZE - MIB)
    seen = STATUS_DATA | STATUS_ZERO | STATUS_ALLOCATED
    assert (first.flags & seen, first.length) == (STATUS_DATA | STATUS_ALLOCATED, MIB)
    assert (second.flags & (STATUS_DATA | STATUS_ZERO), second.length) == (STATUS_ZERO, SIZE - MIB)


async def test_depth_is_asked_as_a_dirty_bitmap(graph: BlockGraph, disk: Path, tmp_path: Path) -> None:
    socket = tmp_path / "server.sock"
    async with (
        running(*qemu_nbd(socket, disk, "-A")),
        opened(graph, socket, **{"export": "exp", "x-dirty-bitmap": "qemu:allocation-depth"}) as backend,
    ):
        status = await backend.block_status(0, SIZE)
    # Depth 1 looks like a hole.
    assert (status.flags & STATUS_DATA, status.length) == (0, SIZE)


async def test_fast_zero_that_is_not_fast_fails(graph: BlockGraph, tmp_path: Path) -> None:
    socket = tmp_path / "server.sock"
    command = nbdkit(socket, "--filter=nozero", "memory", "4M", "zeromode=notrim", "fastzeromode=slow")
    async with running(*command), opened(graph, socket) as backend:
        with pytest.raises(BlockError, match=r"not supported$"):
            await backend.write_zeroes(0, 4096, NO_FALLBACK)
        await backend.write_zeroes(0, 4096)


async def test_errors_of_the_server_are_those_of_the_request(graph: BlockGraph, tmp_path: Path) -> None:
    socket, trigger = tmp_path / "server.sock", tmp_path / "trigger"
    command = nbdkit(
        socket, "--filter=error", "memory", "4M", "error=ENOSPC", "error-rate=100%", f"error-file={trigger}"
    )
    async with running(*command), opened(graph, socket) as backend:
        await backend.pwrite(0, b"a" * 512)
        trigger.touch()
        for request in (backend.pread(0, 512), backend.pwrite(0, b"b" * 512)):
            with pytest.raises(BlockError, match=r"No space left on device$"):
                await request
        trigger.unlink()
        assert await backend.pread(0, 512) == b"a" * 512


async def test_requests_of_many_megabytes_are_split(graph: BlockGraph, tmp_path: Path) -> None:
    socket = tmp_path / "server.sock"
    async with running(*nbdkit(socket, "memory", "48M")), opened(graph, socket) as backend:
        data = random.Random(1).randbytes(40 * MIB)
        await backend.pwrite(512, data)
        assert await backend.pread(512, len(data)) == data


async def test_read_only_export_is_refused_or_read_only(graph: BlockGraph, disk: Path, tmp_path: Path) -> None:
    socket = tmp_path / "server.sock"
    async with running(*qemu_nbd(socket, disk, "-r")):
        with pytest.raises(ConfigError, match=r"Could not open image: Permission denied; set read-only = true$"):
            async with opened(graph, socket, export="exp"):
                pass
        async with opened(graph, socket, **{"export": "exp", "auto-read-only": True}) as backend:
            assert backend.read_only
            assert len(await backend.pread(0, 4096)) == 4096


async def test_hundred_requests_at_once_lose_nothing(graph: BlockGraph, tmp_path: Path) -> None:
    socket = tmp_path / "server.sock"
    command = nbdkit(socket, "--filter=delay", "memory", "4M", "rdelay=2ms", "wdelay=2ms")
    async with running(*command), opened(graph, socket) as backend:
        blocks = [random.Random(number).randbytes(4096) for number in range(100)]
        await asyncio.gather(*(backend.pwrite(4096 * number, block) for number, block in enumerate(blocks)))
        read = await asyncio.gather(*(backend.pread(4096 * number, 4096) for number in range(100)))
    assert read == blocks


async def test_several_connections_are_used(graph: BlockGraph, tmp_path: Path) -> None:
    socket = tmp_path / "server.sock"
    command = nbdkit(socket, "--filter=delay", "memory", "4M", "rdelay=2ms", "wdelay=2ms")
    async with running(*command), opened(graph, socket, connections=4) as backend:
        blocks = [random.Random(number).randbytes(4096) for number in range(100)]
        await asyncio.gather(*(backend.pwrite(4096 * number, block) for number, block in enumerate(blocks)))
        await backend.flush()
        assert await backend.pread(0, 100 * 4096) == b"".join(blocks)


async def test_server_that_is_started_again_is_found(
    graph: BlockGraph,
    disk: Path,
    tmp_path: Path,
    fake_time: FakeClock,
    fake_clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver, "realtime_clock", lambda: fake_clock)
    socket = tmp_path / "server.sock"
    command = nbdkit(socket, "file", str(disk))
    async with contextlib.AsyncExitStack() as stack:
        async with running(*command):
            backend = await stack.enter_async_context(opened(graph, socket, **{"reconnect-delay": 100}))
            await backend.pwrite(0, b"before" * 100)
        socket.unlink()
        requests = [asyncio.ensure_future(backend.pwrite(4096 * number, b"after!" * 100)) for number in range(1, 30)]
        await asyncio.sleep(0)
        await stack.enter_async_context(running(*command))
        fake_time.advance(1_000_000_000)
        await asyncio.gather(*requests)
        await backend.flush()
        assert await backend.pread(0, 600) == b"before" * 100
        assert await backend.pread(4096 * 29, 600) == b"after!" * 100


# ---- TLS


async def test_tls_with_qemu_nbd(graph: BlockGraph, disk: Path, tmp_path: Path, certificates: Path) -> None:
    socket = tmp_path / "server.sock"
    creds = f"tls-creds-x509,id=t,endpoint=server,verify-peer=on,dir={certificates / 'good'}"
    async with running(*qemu_nbd(socket, disk, "--object", creds, "--tls-creds", "t")):
        options = {"export": "exp", "tls-creds": {"dir": str(certificates / "good")}, "tls-hostname": "localhost"}
        async with opened(graph, socket, **options) as backend:
            await exercise(backend)
        with pytest.raises(ConfigError, match=r"Certificate does not match the hostname example\.org$"):
            async with opened(graph, socket, **{**options, "tls-hostname": "example.org"}):
                pass
        with pytest.raises(ConfigError, match=r"The certificate hasn't got a known issuer$"):
            async with opened(graph, socket, **{**options, "tls-creds": {"dir": str(certificates / "other")}}):
                pass
        with pytest.raises(ConfigError, match=r"TLS negotiation required before option 7 \(go\)\nDid you forget"):
            async with opened(graph, socket, export="exp"):
                pass


async def test_tls_with_nbdkit(graph: BlockGraph, tmp_path: Path, certificates: Path) -> None:
    socket, good = tmp_path / "server.sock", certificates / "good"
    command = nbdkit(socket, "--tls=require", f"--tls-certificates={good}", "--tls-verify-peer", "memory", "4M")
    async with (
        running(*command),
        opened(graph, socket, **{"tls-creds": {"dir": str(good)}, "tls-hostname": "localhost"}) as backend,
    ):
        await exercise(backend)


async def test_tls_with_a_server_without(graph: BlockGraph, disk: Path, tmp_path: Path, certificates: Path) -> None:
    socket = tmp_path / "server.sock"
    async with running(*qemu_nbd(socket, disk)):
        with pytest.raises(ConfigError, match=r"Denied by server for option 5 \(starttls\)\nserver reported: TLS not"):
            async with opened(graph, socket, **{"tls-creds": {"dir": str(certificates / "good")}}):
                pass
