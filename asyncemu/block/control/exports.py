# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports of a machine's block nodes, by its own NBD server. QEMU: nbd-server-start, block-export-add, blockdev-nbd.c.

An export is a user of its node as a device is: permissions are checked, and the node can't be removed. It lives where
its node does, and goes along when that moves, unless its iothread is fixed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from asyncemu.block.control.errors import ControlError, explained
from asyncemu.block.control.lookup import find_root
from asyncemu.block.flags import FUA
from asyncemu.block.homes import at_home, to_end
from asyncemu.block.move import move_nodes
from asyncemu.block.nbd.address import UnixAddress, unlink
from asyncemu.block.nbd.export import NbdExport, bitmap_refusal, export_backend
from asyncemu.block.nbd.server import NbdServer
from asyncemu.errors import AsyncemuError, BlockError, ConfigError
from asyncemu.loop import AioContext, HasHome, home
from asyncemu.plugin_options import IDENTITY

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.nbd.address import Address
    from asyncemu.block.nbd.tls import TlsCredentials
    from asyncemu.block.node import BlockNode

#: Clients at a time when nobody says otherwise; QEMU's choice.
MAX_CONNECTIONS: Final = 100

#: QEMU: BlockExportRemoveMode.
RemoveMode: TypeAlias = Literal["safe", "hard"]


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """QEMU: BlockExportOptions, of type ``nbd``."""

    id: str
    node_name: str
    #: None: as the node.
    name: str | None = None
    description: str = ""
    writable: bool = False
    #: A write is answered when it would survive a crash of the host.
    writethrough: bool = False
    #: Where the node is to live; None: where it does.
    iothread: str | None = None
    #: It must live there, and stay.
    fixed_iothread: bool = False
    allocation_depth: bool = False
    bitmaps: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Export:
    """One that is there."""

    node_name: str
    offered: NbdExport
    backend: BlockBackend


class BlockExports(HasHome):
    """Home: the graph's. All methods raise ControlError, in QEMU's words."""

    def __init__(self, graph: BlockGraph, find_iothread: Callable[[str], AioContext | None]) -> None:
        """``find_iothread``: the context of an iothread, by its id."""
        self.context = graph.context
        self._graph = graph
        self._find_iothread = find_iothread
        self._server: NbdServer | None = None
        self._socket_path = ""
        self._exports: dict[str, _Export] = {}
        #: Ids of exports that are being added or removed.
        self._busy: set[str] = set()

    # ---- the server

    @home
    async def start(self, address: Address, max_connections: int = MAX_CONNECTIONS, tls: str | None = None) -> None:
        """Take clients at ``address``, at most so many at a time (0: any number). ``tls``: id of credentials."""
        if self._server is not None:
            raise ControlError("NBD server already running")
        server = NbdServer(self.context, max_connections=max_connections, tls=self._credentials(tls))
        # At once: somebody may ask for another one meanwhile.
        self._server = server
        try:
            await server.listen(address)
        except BaseException as error:
            self._server = None
            await to_end(server.close())
            if isinstance(error, ConfigError):
                raise explained(error) from error
            raise
        self._socket_path = address.path if isinstance(address, UnixAddress) else ""

    def _credentials(self, tls: str | None) -> TlsCredentials | None:
        if tls is None:
            return None
        if tls not in self._graph.tls_credentials:
            raise ControlError(f"No TLS credentials with id '{tls}'")
        return self._graph.tls_credentials[tls]

    @home
    async def stop(self) -> None:
        """Hang up on all clients, and forget all exports."""
        server = self._running()
        for id in list(self._exports):
            await self._remove(id)
        self._server = None
        await server.close()
        if self._socket_path:
            unlink(self._socket_path)
            self._socket_path = ""

    @home
    async def close(self) -> None:
        """``stop``, if there is a server."""
        if self._server is not None:
            await self.stop()

    def _running(self) -> NbdServer:
        if self._server is None:
            raise ControlError("NBD server not running")
        return self._server

    # ---- exports

    @home
    async def add(self, options: ExportOptions) -> None:
        """Offer a node. QEMU: blk_exp_add."""
        id = options.id
        if not re.fullmatch(IDENTITY, id):
            raise ControlError("Invalid block export id")
        if id in self._exports or id in self._busy:
            raise ControlError(f"Block export id '{id}' is already in use")
        node = find_root(self._graph, None, options.node_name)
        if options.writable and node.read_only:
            raise ControlError("Cannot export read-only node as writable")
        self._busy.add(id)
        try:
            await self._choose_home(node, options)
            server = self._running()
            backend = await at_home(node, lambda: _backend(node, options))
            try:
                if options.bitmaps:
                    raise ControlError(await at_home(node, lambda: bitmap_refusal(node, options.bitmaps[0])))
                export = NbdExport(
                    options.name if options.name is not None else options.node_name,
                    backend,
                    description=options.description,
                    read_only=not options.writable,
                    fixed=options.fixed_iothread,
                    allocation_depth=options.allocation_depth,
                )
                self._running()
                server.add(export)
            except BaseException:
                await to_end(at_home(backend, backend.remove))
                raise
        except AsyncemuError as error:
            raise explained(error) from error
        finally:
            self._busy.discard(id)
        self._exports[id] = _Export(node.name, export, backend)

    async def _choose_home(self, node: BlockNode, options: ExportOptions) -> None:
        if options.iothread is None:
            return
        context = self._find_iothread(options.iothread)
        if context is None:
            raise ControlError(f'iothread "{options.iothread}" not found')
        try:
            await move_nodes(node, context)
        except BlockError as error:
            if options.fixed_iothread:
                raise ControlError("Cannot change iothread of active block backend") from error

    @home
    async def nbd_server_add(
        self,
        device: str,
        name: str | None = None,
        description: str = "",
        writable: bool = False,
        bitmap: str | None = None,
    ) -> None:
        """As ``add``, in an older form: the export's id is its name, and a read-only node is not written.

        QEMU: nbd-server-add.
        """
        node = find_root(self._graph, device, device)
        name = device if name is None else name
        options = ExportOptions(
            name,
            node.name,
            name,
            description,
            writable=writable and not node.read_only,
            bitmaps=() if bitmap is None else (bitmap,),
        )
        await self.add(options)

    @home
    async def remove(self, id: str, mode: RemoveMode = "safe") -> None:
        """Offer it no more; ``safe``: only when it has no client, ``hard``: clients are hung up on."""
        if id not in self._exports or id in self._busy:
            raise ControlError(f"Export '{id}' is not found")
        if mode == "safe" and self._exports[id].offered.connections:
            raise ControlError(f"export '{id}' still in use")
        await self._remove(id)

    @home
    async def nbd_server_remove(self, name: str, mode: RemoveMode = "safe") -> None:
        """As ``remove``. QEMU: nbd-server-remove, whose names are ids."""
        await self.remove(name, mode)

    async def _remove(self, id: str) -> None:
        if id in self._busy:
            return
        export = self._exports[id]
        self._busy.add(id)
        try:
            await to_end(self._take_away(export))
        finally:
            self._busy.discard(id)
            del self._exports[id]
        self._graph.observer.export_deleted(id)

    async def _take_away(self, export: _Export) -> None:
        await self._running().remove(export.offered, force=True)
        await at_home(export.backend, export.backend.remove)

    @home
    def query(self) -> list[dict[str, Any]]:
        """QMP's BlockExportInfo, the last that has come first."""
        return [
            {"id": id, "type": "nbd", "node-name": export.node_name, "shutting-down": id in self._busy}
            for id, export in reversed(self._exports.items())
        ]


async def _backend(node: BlockNode, options: ExportOptions) -> BlockBackend:
    backend = export_backend(options.id, node.context, writable=options.writable)
    await backend.insert(node)
    if options.writethrough:
        backend.write_flags = FUA
    return backend
