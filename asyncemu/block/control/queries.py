# SPDX-License-Identifier: GPL-2.0-or-later
"""What there is and what was done: query-block, query-named-block-nodes, query-blockstats, x-debug-query-block-graph.

In the graph's home; each node is asked at its own. What a device does is counted in its BlockBackend; of nodes only the
highest byte written is known. QEMU: block/qapi.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.control.lookup import devices
from asyncemu.block.flags import PERMISSION_NAMES, ROLE_COW, ROLE_FILTERED
from asyncemu.block.homes import at_home
from asyncemu.block.image_info import image_info
from asyncemu.block.node import BlockNode
from asyncemu.block.node_filename import node_filename
from asyncemu.block.statistics import BlockStatistics
from asyncemu.block.throttle.config import BUCKET_NAMES

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend
    from asyncemu.block.child import BlockChild, BlockParent
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.throttle.config import ThrottleConfig

#: Bytes; sizes of images are told in whole ones.
_SECTOR: Final = 512

#: QMP's names of our buckets, in their order.
_LIMITS: Final = ("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr")
assert len(_LIMITS) == len(BUCKET_NAMES)


async def query_block(graph: BlockGraph) -> list[dict[str, Any]]:
    """QMP's BlockInfo of each device."""
    return [await at_home(backend, lambda backend=backend: _block_info(backend)) for backend in devices(graph)]  # type: ignore[misc]


async def query_named_block_nodes(graph: BlockGraph, flat: bool = False) -> list[dict[str, Any]]:
    """QMP's BlockDeviceInfo of each node, the last that has come first; ``flat``: without those of backing images."""
    nodes = list(reversed(graph.nodes.values()))
    return [await at_home(node, lambda node=node: _device_info(node, flat, None)) for node in nodes]  # type: ignore[misc]


async def _block_info(backend: BlockBackend) -> dict[str, Any]:
    info: dict[str, Any] = {
        "device": "",
        "qdev": backend.name,
        "type": "unknown",
        "removable": False,
        "locked": False,
    }
    if backend.policy.may_stop:
        info["io-status"] = backend.io_status.value
    if backend.root is not None:
        info["inserted"] = await _device_info(backend.node, False, backend)
    return info


async def _device_info(node: BlockNode, flat: bool, backend: BlockBackend | None) -> dict[str, Any]:
    """QEMU: bdrv_block_device_info."""
    driver = node.driver
    filename = node_filename(node)
    info: dict[str, Any] = {
        "file": filename,
        "node-name": node.name,
        "ro": node.read_only,
        "drv": driver.name,
        "encrypted": (await driver.image_info()).encrypted,
        "cache": {
            "writeback": backend is None or not backend.write_flags,
            "direct": driver.options.cache.direct,
            "no-flush": node.no_flush,
        },
        "detect_zeroes": node.detect_zeroes,
        "write_threshold": node.write_threshold,
        **_limits(backend),
    }
    if driver.backing_file and node.backing is not None:
        # Not as the image has it: where it was found.
        info["backing_file"] = node_filename(node.backing.node)
    image = info["image"] = await _image_info(node, filename)
    depth = 0
    while not flat and (below := _image_below(node)) is not None:
        node = below
        depth += 1
        image["backing-image"] = image = await _image_info(node, node_filename(node))
    info["backing_file_depth"] = depth
    return info


async def _image_info(node: BlockNode, filename: str) -> dict[str, Any]:
    return await image_info(node, filename, -(-node.size // _SECTOR) * _SECTOR)


def _image_below(node: BlockNode) -> BlockNode | None:
    """Its backing file, or what it filters. QEMU: bdrv_filter_or_cow_bs, for which ``raw`` is a format."""
    roles = ROLE_COW if node.driver.is_format else ROLE_COW | ROLE_FILTERED
    return next((edge.node for edge in node.children if edge.role & roles), None)


def _limits(backend: BlockBackend | None) -> dict[str, Any]:
    if backend is None or backend.throttle is None:
        return dict.fromkeys(_LIMITS, 0)
    group = backend.throttle.group
    return {**limit_members(group.config), "group": group.name}


def limit_members(config: ThrottleConfig) -> dict[str, int]:
    """The limits as members of QMP's BlockDeviceInfo."""
    found: dict[str, int] = {}
    for name, bucket in zip(_LIMITS, config.buckets, strict=True):
        found[name] = bucket.average
        if bucket.maximum:
            # "bps_max", "bps_rd_max"
            found[f"{name}_max"] = bucket.maximum
            found[f"{name}_max_length"] = bucket.burst_length
    if config.iops_size:
        found["iops_size"] = config.iops_size
    return found


# ---- what was done


async def query_blockstats(graph: BlockGraph, query_nodes: bool = False) -> list[dict[str, Any]]:
    """QMP's BlockStats of each device with the nodes below it; ``query_nodes``: of each node."""
    if query_nodes:
        nodes = list(reversed(graph.nodes.values()))
        return [await at_home(node, lambda node=node: _of_node_alone(node)) for node in nodes]  # type: ignore[misc]
    return [await at_home(backend, lambda backend=backend: _of_device(backend)) for backend in devices(graph)]  # type: ignore[misc]


async def _of_device(backend: BlockBackend) -> dict[str, Any]:
    found = _of_node(backend.node, with_backing=True) if backend.root is not None else {}
    highest = backend.root.node.highest_written if backend.root is not None else 0
    return {**found, "device": "", "qdev": backend.name, "stats": backend.statistics.as_qmp(highest)}


async def _of_node_alone(node: BlockNode) -> dict[str, Any]:
    return _of_node(node, with_backing=False)


def _of_node(node: BlockNode, *, with_backing: bool) -> dict[str, Any]:
    """QEMU: bdrv_query_bds_stats. Chains are bounded: opening.MAX_CHAIN."""
    stats = BlockStatistics(account_failed=False, account_invalid=False).as_qmp(node.highest_written)
    found: dict[str, Any] = {"node-name": node.name, "stats": stats}
    specific = node.driver.statistics()
    if specific is not None:
        found["driver-specific"] = {"driver": node.driver.name, **specific}
    primary = node.primary_child
    if primary is not None:
        found["parent"] = _of_node(primary.node, with_backing=with_backing)
    below = _image_below(node)
    if with_backing and below is not None:
        found["backing"] = _of_node(below, with_backing=True)
    return found


# ---- the graph


async def query_block_graph(graph: BlockGraph) -> dict[str, Any]:
    """QMP's XDbgBlockGraph: nodes, devices and the edges between them."""
    numbers: dict[object, int] = {}
    nodes: list[dict[str, Any]] = []
    edges: list[dict[str, Any]] = []

    def number_of(place: BlockParent) -> int:
        if place not in numbers:
            numbers[place] = len(numbers) + 1
            kind = "block-driver" if isinstance(place, BlockNode) else "block-backend"
            nodes.append({"id": numbers[place], "type": kind, "name": getattr(place, "name", "")})
        return numbers[place]

    for node in list(graph.nodes.values()):
        number_of(node)
        for edge in await at_home(node, lambda node=node: _edges_to(node)):  # type: ignore[misc]
            edges.append(
                {
                    "parent": number_of(edge.parent),
                    "child": number_of(node),
                    "name": edge.name,
                    "perm": _names(edge.permissions),
                    "shared-perm": _names(edge.shared),
                }
            )
    return {"nodes": nodes, "edges": edges}


async def _edges_to(node: BlockNode) -> list[BlockChild]:
    return list(node.parents)


def _names(permissions: int) -> list[str]:
    return [name.replace(" ", "-") for bit, name in PERMISSION_NAMES.items() if permissions & bit]
