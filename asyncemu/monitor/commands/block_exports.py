# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports of block nodes: by NBD, the only way that there is."""

from __future__ import annotations

from typing import Literal

from asyncemu.block.control.exports import ExportOptions
from asyncemu.monitor.command import Call, command
from asyncemu.wire_model import WireModel


class BlockExportOptions(WireModel):
    """Of block-export-add; QEMU: BlockExportOptions, BlockExportOptionsNbd."""

    type: Literal["nbd"]
    id: str
    node_name: str
    #: Id of an iothread to bring the node to, if its other users allow that; with ``fixed_iothread`` they must.
    iothread: str | None = None
    fixed_iothread: bool = False
    writable: bool = False
    #: Each write is on the disk when it is answered.
    writethrough: bool = False
    #: What clients call it; the node's name if not given.
    name: str | None = None
    description: str | None = None
    bitmaps: list[str] | None = None
    allocation_depth: bool = False


class BlockExportDelArguments(WireModel):
    """Of block-export-del."""

    id: str
    #: safe: not while it has clients; hard: without them.
    mode: Literal["safe", "hard"] = "safe"


class BlockExportInfo(WireModel):
    """QEMU: BlockExportInfo."""

    id: str
    type: Literal["nbd"]
    node_name: str
    shutting_down: bool


@command("block-export-add")
async def block_export_add(call: Call, arguments: BlockExportOptions) -> None:
    """Export a node."""
    options = ExportOptions(
        arguments.id,
        arguments.node_name,
        name=arguments.name,
        description=arguments.description or "",
        writable=arguments.writable,
        writethrough=arguments.writethrough,
        iothread=arguments.iothread,
        fixed_iothread=arguments.fixed_iothread,
        allocation_depth=arguments.allocation_depth,
        bitmaps=tuple(arguments.bitmaps or ()),
    )
    await call.control.machine.exports.add(options)


@command("block-export-del")
async def block_export_del(call: Call, arguments: BlockExportDelArguments) -> None:
    """End an export; BLOCK_EXPORT_DELETED tells when it is gone."""
    await call.control.machine.exports.remove(arguments.id, arguments.mode)


@command("query-block-exports")
async def query_block_exports(call: Call) -> list[BlockExportInfo]:
    """All of them."""
    return [BlockExportInfo.model_validate(each) for each in call.control.machine.exports.query()]
