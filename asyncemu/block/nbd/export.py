# SPDX-License-Identifier: GPL-2.0-or-later
"""NbdExport: a block node under a name, as an NBD server offers it. QEMU: NBDExport, block-export-add."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.block.nbd.constants import (
    FLAG_CAN_MULTI_CONN,
    FLAG_HAS_FLAGS,
    FLAG_READ_ONLY,
    FLAG_SEND_CACHE,
    FLAG_SEND_FAST_ZERO,
    FLAG_SEND_FLUSH,
    FLAG_SEND_FUA,
    FLAG_SEND_TRIM,
    FLAG_SEND_WRITE_ZEROES,
    MAX_BUFFER_SIZE,
    MAX_STRING_SIZE,
)
from asyncemu.block.nbd.extents import AllocationSource, DepthSource, MetadataSource
from asyncemu.block.nbd.known_data import KnownData
from asyncemu.block.nbd.option_messages import BlockSizes, MetaContext, encode_text
from asyncemu.block.nbd.server_negotiation import ExportOffer
from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext

if TYPE_CHECKING:
    from asyncemu.block.nbd.server_connection import ServerConnection
    from asyncemu.block.node import BlockNode

#: Ids of metadata contexts. QEMU: NBD_META_ID_*.
_ALLOCATION_ID: Final = 0
_DEPTH_ID: Final = 1
_FIRST_BITMAP_ID: Final = 2

#: What an efficient request is a multiple of, at least; QEMU's choice.
_PREFERRED: Final = 4096


def export_backend(name: str, context: AioContext, *, writable: bool) -> BlockBackend:
    """What an export holds of its node: it may be used by others, too, but not be resized. ``insert`` the node."""
    permissions = PERM_CONSISTENT_READ | (PERM_WRITE if writable else 0)
    return BlockBackend(name, context, permissions, PERM_ALL & ~PERM_RESIZE)


class NbdExport:
    """What is on offer under ``name``. Home: the backend's, which has its node. ConfigError for a bad name.

    Drained sections hold its requests in the backend. Where that moves its clients go, too, unless ``fixed``.
    """

    def __init__(
        self,
        name: str,
        backend: BlockBackend,
        *,
        description: str = "",
        read_only: bool = False,
        fixed: bool = False,
        allocation_depth: bool = False,
        bitmaps: Sequence[MetadataSource] = (),
    ) -> None:
        if len(encode_text(name)) > MAX_STRING_SIZE:
            raise ConfigError("name", f"export name '{name}' too long")
        if len(encode_text(description)) > MAX_STRING_SIZE:
            raise ConfigError("description", f"description '{description}' too long")
        self.name = name
        self.description = description
        self.backend = backend
        self.read_only = read_only or backend.read_only
        self.fixed = fixed
        self.known_data = KnownData(backend)
        #: By the ids of their metadata contexts.
        self.sources: dict[int, MetadataSource] = {_ALLOCATION_ID: AllocationSource(backend)}
        if allocation_depth:
            self.sources[_DEPTH_ID] = DepthSource(backend)
        self.sources.update(enumerate(bitmaps, _FIRST_BITMAP_ID))
        #: Who uses it. Home: the server's.
        self.connections: set[ServerConnection] = set()
        #: How many want its clients to be left alone for now, and the end of that. Home: the server's.
        self.suspensions = 0
        self.resumed: asyncio.Future[None] | None = None

    def offer(self, *, multiple_connections: bool) -> ExportOffer:
        """What a client is told. ``multiple_connections``: more than one client may come."""
        flags = FLAG_HAS_FLAGS | FLAG_SEND_FLUSH | FLAG_SEND_FUA | FLAG_SEND_CACHE
        if self.read_only:
            flags |= FLAG_READ_ONLY
        else:
            flags |= FLAG_SEND_TRIM | FLAG_SEND_WRITE_ZEROES | FLAG_SEND_FAST_ZERO
        if multiple_connections:
            # All clients go through one backend: a flush of one is a flush for all.
            flags |= FLAG_CAN_MULTI_CONN
        contexts = tuple(MetaContext(id, source.name) for id, source in self.sources.items())
        return ExportOffer(self.name, self.description, self.backend.size, flags, self._block_sizes(), contexts)

    def _block_sizes(self) -> BlockSizes:
        limits = self.backend.node.limits
        minimum = min(limits.request_alignment, 1 << 16)
        maximum = min(limits.max_transfer or MAX_BUFFER_SIZE, MAX_BUFFER_SIZE)
        return BlockSizes(minimum, max(_PREFERRED, minimum), maximum // minimum * minimum)


async def bitmap_refusal(node: BlockNode, name: str) -> str:
    """Why the persistent bitmap ``name`` can't be exported, in one line. At the node's home."""
    specific = (await node.driver.image_info()).format_specific
    data = specific.get("data") if specific is not None else None
    known = data.get("bitmaps", ()) if isinstance(data, Mapping) else ()
    if any(each["name"] == name for each in known):
        return f"Bitmap '{name}' can't be exported: persistent bitmaps are kept, but not read"
    return f"Bitmap '{name}' is not found"
