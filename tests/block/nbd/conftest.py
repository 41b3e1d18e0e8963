# SPDX-License-Identifier: GPL-2.0-or-later
"""A server over a Unix socket, programs to talk to it, and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from asyncemu.block import BlockGraph
from asyncemu.block.nbd.address import UnixAddress
from asyncemu.block.nbd.export import NbdExport, export_backend
from asyncemu.block.nbd.server import NbdServer
from asyncemu.loop import AioContext, Clock, ClockKind
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.memory_disk import MemoryDisk
from tests.block.nbd.peer import Peer
from tests.block.nbd.tls_files import make_certificates

DISK_SIZE = 1 << 20
MEMORY_DISK: Mapping[str, object] = {"driver": "memory", "size": DISK_SIZE, "discard": "unmap"}


class Served:
    """A server at ``path``, with exports, and what it has reported."""

    def __init__(self, graph: BlockGraph, path: Path, server: NbdServer, reports: list[str], left: list[bool]) -> None:
        self.graph = graph
        self.path = path
        self.server = server
        self.reports = reports
        #: Of each client that has left: had it chosen an export?
        self.left = left
        self.exports: list[NbdExport] = []

    async def add(self, name: str, table: Mapping[str, object] = MEMORY_DISK, **arguments: Any) -> NbdExport:
        """Offer a node that ``table`` makes."""
        read_only = bool(arguments.get("read_only"))
        node = await self.graph.add_table({**table, "node-name": f"node-{len(self.exports)}"}, "blockdev")
        backend = export_backend(name, node.context, writable=not read_only)
        await backend.insert(node)
        export = NbdExport(name, backend, **arguments)
        self.server.add(export)
        self.exports.append(export)
        return export

    def disk(self, index: int = 0) -> MemoryDisk:
        """What is behind an export on MEMORY_DISK."""
        driver = self.exports[index].backend.node.driver
        assert isinstance(driver, MemoryDisk)
        return driver

    def uri(self, name: str = "disk") -> str:
        """For programs."""
        return f"nbd+unix:///{name}?socket={self.path}"

    async def peer(self, **arguments: Any) -> Peer:
        """A client that is ready for requests; see Peer.connect."""
        return await Peer.connect(self.path, **arguments)

    async def close(self) -> None:
        """Everything."""
        await self.server.close(timeout_ns=100_000_000)
        for export in self.exports:
            await export.backend.remove()


Serve: TypeAlias = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(graph: BlockGraph, context: AioContext, tmp_path: Path) -> AsyncIterator[Serve]:
    """Make a server; ``await serve()`` has one export, ``disk``, on MEMORY_DISK."""
    made: list[Served] = []

    async def serve(name: str | None = "disk", table: Mapping[str, object] = MEMORY_DISK, **arguments: Any) -> Served:
        export_arguments = arguments.pop("export", {})
        reports: list[str] = []
        left: list[bool] = []
        server = NbdServer(context, report=reports.append, on_client_closed=left.append, **arguments)
        served = Served(graph, tmp_path / f"server{len(made)}.sock", server, reports, left)
        made.append(served)
        if name is not None:
            await served.add(name, table, **export_arguments)
        await server.listen(UnixAddress(str(served.path)))
        return served

    yield serve
    for each in made:
        await each.close()
    for peer in Peer.made:
        peer.close()
    Peer.made.clear()


@pytest.fixture
def fake_time() -> FakeClock:
    """Stands still until a test moves it."""
    return FakeClock()


@pytest.fixture
def fake_clock(fake_time: FakeClock) -> Clock:
    """A clock on it."""
    return Clock(ClockKind.REALTIME, fake_time)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories ``good`` (CA, server for localhost, client) and ``other`` (the same of another CA)."""
    directory = tmp_path_factory.mktemp("certificates")
    for name in ("good", "other"):
        make_certificates(directory / name)
    return directory
