# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is of disks: devices, nodes, statistics, the graph."""

from __future__ import annotations

from asyncemu.block.control import queries
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.commands.block_types import BlockDeviceInfo, BlockInfo, BlockStats, XDbgBlockGraph
from asyncemu.wire_model import WireModel


class BlockstatsArguments(WireModel):
    """Of query-blockstats."""

    query_nodes: bool | None = None


class NamedBlockNodesArguments(WireModel):
    """Of query-named-block-nodes."""

    #: Leave out what is said of backing images.
    flat: bool | None = None


@command("query-block")
async def query_block(call: Call) -> list[BlockInfo]:
    """The disks of devices."""
    return [BlockInfo.model_validate(each) for each in await queries.query_block(call.control.machine.block)]


@command("query-blockstats")
async def query_blockstats(call: Call, arguments: BlockstatsArguments) -> list[BlockStats]:
    """Counters of the disks of devices, or of all nodes."""
    found = await queries.query_blockstats(call.control.machine.block, arguments.query_nodes or False)
    return [BlockStats.model_validate(each) for each in found]


@command("query-named-block-nodes")
async def query_named_block_nodes(call: Call, arguments: NamedBlockNodesArguments) -> list[BlockDeviceInfo]:
    """All nodes, the newest first."""
    found = await queries.query_named_block_nodes(call.control.machine.block, arguments.flat or False)
    return [BlockDeviceInfo.model_validate(each) for each in found]


@command("x-debug-query-block-graph")
async def query_block_graph(call: Call) -> XDbgBlockGraph:
    """Nodes, who uses them, and with which permissions."""
    return XDbgBlockGraph.model_validate(await queries.query_block_graph(call.control.machine.block))
