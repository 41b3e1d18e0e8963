# SPDX-License-Identifier: GPL-2.0-or-later
"""blockdev-add and its kin: what they do, and QEMU 7.2's words when they can't."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph, move_nodes
from asyncemu.block.control.changes import (
    block_resize,
    blockdev_add,
    blockdev_del,
    blockdev_reopen,
    reset_io_statuses,
    set_histograms,
    set_io_throttle,
    set_write_threshold,
)
from asyncemu.block.control.errors import ControlError, NoSuchDevice
from asyncemu.block.control.lookup import find_device, find_node, find_root
from asyncemu.block.control.queries import query_block, query_blockstats
from asyncemu.block.error_policy import ErrorPolicy, IoStatus
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.loop import Clock, ClockKind, IOThread
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from tests.block.control.devices import Notes, plug
from tests.block.drivers import add


class FailingFlush(MemoryDisk, name="failing-flush"):
    """Nothing that is written lasts."""

    options_type = MemoryDiskOptions

    async def flush(self) -> None:
        raise OSError(errno.EIO, "lost")


NO_LIMITS: dict[str, Any] = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)

#: What the same table got from qemu-system-riscv64 7.2, where a node ``d0`` is there.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no name": ({"driver": "null-co"}, "'node-name' must be specified for the root node"),
    "no driver": ({"node-name": "n"}, "Parameter 'driver' is missing"),
    "taken": ({"driver": "null-co", "node-name": "d0"}, "Duplicate nodes with node-name='d0'"),
    "bad name": ({"driver": "null-co", "node-name": "x y"}, "Invalid node-name: 'x y'"),
    "bad driver": ({"driver": "nosuch", "node-name": "n"}, "Parameter 'driver' does not accept value 'nosuch'"),
    "bad driver below": (
        {"driver": "raw", "node-name": "n", "file": {"driver": "nosuch"}},
        "Parameter 'driver' does not accept value 'nosuch'",
    ),
    "no file": (
        {"driver": "file", "node-name": "n", "filename": "/nonexistent"},
        "Could not open '/nonexistent': No such file or directory",
    ),
    "no child": ({"driver": "qcow2", "node-name": "n", "file": "zz"}, "Cannot find device='zz' nor node-name='zz'"),
    "missing": ({"driver": "qcow2", "node-name": "n"}, "Parameter 'file' is missing"),
    "unknown": ({"driver": "null-co", "node-name": "n", "zz": 1}, "Parameter 'zz' is unexpected"),
    "type": (
        {"driver": "null-co", "node-name": "n", "size": "many"},
        "Invalid parameter type for 'size', expected: integer",
    ),
    "choice": (
        {"driver": "null-co", "node-name": "n", "discard": "foo"},
        "Parameter 'discard' does not accept value 'foo'",
    ),
    "nested type": (
        {"driver": "null-co", "node-name": "n", "cache": {"direct": 7}},
        "Invalid parameter type for 'cache.direct', expected: boolean",
    ),
    "no format": ({"driver": "qcow2", "node-name": "n", "file": "d0"}, "Image is not in qcow2 format"),
    "no group": (
        {"driver": "throttle", "node-name": "n", "file": "d0", "throttle-group": "nope"},
        "Throttle group 'nope' does not exist",
    ),
}


@pytest.mark.parametrize(("table", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_blockdev_add_refused_in_qemus_words(graph: BlockGraph, table: dict[str, Any], words: str) -> None:
    await add(graph, "memory", "d0", size=1 << 20)
    with pytest.raises(ControlError) as caught:
        await blockdev_add(graph, table)
    assert (str(caught.value), list(graph.nodes)) == (words, ["d0"])


async def test_blockdev_add_and_del_make_and_close_a_node(graph: BlockGraph) -> None:
    await blockdev_add(graph, {"driver": "raw", "node-name": "n", "file": {"driver": "null-co", "size": 4096}})
    node = find_node(graph, "n")
    await blockdev_del(graph, "n")
    assert (node.closed, graph.nodes) == (True, {})


async def test_blockdev_del_refused_in_qemus_words(graph: BlockGraph) -> None:
    await blockdev_add(graph, {"driver": "raw", "node-name": "n", "file": {"driver": "memory"}})
    await blockdev_add(graph, {"driver": "raw", "node-name": "m", "file": "n"})
    await plug(find_node(graph, "m"))
    refused = {
        "zz": "Failed to find node with node-name='zz'",
        "m": "Node m is in use",
        "n": "Block device n is in use",
        "#block001": "Node #block001 is not owned by the monitor",
    }
    for name, words in refused.items():
        with pytest.raises(ControlError, match=f"^{words}$"):
            await blockdev_del(graph, name)


async def test_blockdev_del_failed_flush_tells_of_it(graph: BlockGraph) -> None:
    await add(graph, "failing-flush", "n")
    node = find_node(graph, "n")
    backend = await plug(node)
    await backend.pwritev(0, Buffers.of(bytes(512)))
    await backend.remove()
    with pytest.raises(ControlError, match="Input/output error"):
        await blockdev_del(graph, "n")
    assert graph.nodes == {}


async def test_blockdev_reopen_changes_options(graph: BlockGraph, image: Path) -> None:
    table = {"driver": "file", "filename": image.name, "node-name": "f"}
    await blockdev_add(graph, table)
    full = {**table, "filename": str(image)}
    await blockdev_reopen(graph, [{**full, "read-only": True}])
    assert find_node(graph, "f").read_only


REOPENS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no name": ([{"driver": "raw"}], "node-name not specified"),
    "no node": ([{"node-name": "zz", "driver": "raw"}], "Failed to find node with node-name='zz'"),
    "driver": ([{"node-name": "d0", "driver": "raw"}], "Cannot change the option 'driver'"),
    "twice": ([{"node-name": "d0"}, {"node-name": "d0"}], "Node 'd0' is named twice"),
    "backing": ([{"node-name": "o", "file": "f"}], "backing is missing for 'o'"),
    "unknown": ([{"node-name": "d0", "zz": 1}], "Parameter 'zz' is unexpected"),
    "read-only": (
        [{"node-name": "d0", "read-only": True}],
        "Read-only block node 'd0' cannot support read-write users",
    ),
}


@pytest.mark.parametrize(("tables", "words"), REOPENS.values(), ids=REOPENS.keys())
async def test_blockdev_reopen_refused_in_qemus_words(
    graph: BlockGraph, tables: list[dict[str, Any]], words: str
) -> None:
    await add(graph, "memory-overlay", "o", backing={"driver": "memory"})
    await plug(await add(graph, "memory", "d0"))
    with pytest.raises(ControlError) as caught:
        await blockdev_reopen(graph, tables)
    assert str(caught.value) == words


# ---- sizes


async def test_block_resize_tells_the_device(graph: BlockGraph) -> None:
    backend = await plug(await add(graph, "memory", "d0", size=4096))
    told: list[int] = []
    backend.on_resize = lambda: told.append(backend.size)
    await block_resize(graph, 8192, device="vd0")
    assert (told, find_node(graph, "d0").size) == ([8192], 8192)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"node_name": "zz", "size": 512}, "Cannot find device='' nor node-name='zz'"),
        ({"device": "zz", "size": 512}, "Cannot find device='zz' nor node-name=''"),
        ({"size": 512}, "Cannot find device='' nor node-name=''"),
        ({"node_name": "d0", "size": -1}, "Parameter 'size' expects a >0 size"),
        ({"node_name": "d0", "size": 1000}, "The new size must be a multiple of 512"),
    ],
)
async def test_block_resize_refused_in_qemus_words(graph: BlockGraph, arguments: dict[str, Any], words: str) -> None:
    await add(graph, "memory", "d0")
    with pytest.raises(ControlError) as caught:
        await block_resize(graph, **arguments)
    assert str(caught.value) == words


async def test_block_resize_of_what_has_one_size_is_refused(graph: BlockGraph) -> None:
    await add(graph, "null-co", "d0")
    with pytest.raises(ControlError):
        await block_resize(graph, 512, node_name="d0")
    assert not find_node(graph, "d0").parents


# ---- look-up


async def test_find_root_takes_a_device_or_a_node(graph: BlockGraph) -> None:
    node = await add(graph, "memory", "d0")
    backend = await plug(node)
    assert (find_root(graph, "vd0", None), find_root(graph, None, "d0")) == (node, node)
    assert find_device(graph, "vd0") is backend


# ---- write threshold


async def test_write_past_the_threshold_is_told_once(graph: BlockGraph) -> None:
    notes = Notes()
    graph.observer = notes
    backend = await plug(await add(graph, "memory", "d0"))
    await set_write_threshold(graph, "d0", 4096)
    for offset in (0, 4096, 8192):
        await backend.pwritev(offset, Buffers.of(bytes(4096)))
    assert notes.calls == [("write_threshold", {"node": "d0", "amount_exceeded": 4096, "threshold": 4096})]


async def test_set_write_threshold_of_no_node_is_refused(graph: BlockGraph) -> None:
    with pytest.raises(ControlError, match=r"^Device 'zz' not found$"):
        await set_write_threshold(graph, "zz", 1)


# ---- histograms


async def test_set_histograms_some_lists_set_these_only(graph: BlockGraph) -> None:
    await plug(await add(graph, "memory", "d0"))
    await set_histograms(graph, "vd0", boundaries=[10, 50], boundaries_write=[7])
    [stats] = await query_blockstats(graph)
    assert stats["stats"]["wr_latency_histogram"] == {"boundaries": [7], "bins": [0, 0]}
    assert stats["stats"]["rd_latency_histogram"] == {"boundaries": [10, 50], "bins": [0, 0, 0]}


async def test_set_histograms_no_list_ends_all(graph: BlockGraph) -> None:
    backend = await plug(await add(graph, "memory", "d0"))
    await set_histograms(graph, "vd0", boundaries=[10])
    await set_histograms(graph, "vd0")
    assert backend.statistics.histograms == [None] * 4


@pytest.mark.parametrize("kind", ["read", "write", "flush"])
async def test_set_histograms_that_do_not_increase_are_refused(graph: BlockGraph, kind: str) -> None:
    await plug(await add(graph, "memory", "d0"))
    with pytest.raises(ControlError, match=f"^Device 'vd0' set {kind} boundaries fail$"):
        await set_histograms(graph, "vd0", **{f"boundaries_{kind}": [5, 2]})


async def test_set_histograms_of_no_device_is_refused(graph: BlockGraph) -> None:
    with pytest.raises(NoSuchDevice, match=r"^Device 'zz' not found$"):
        await set_histograms(graph, "zz", boundaries=[1])


# ---- errors of devices


async def test_error_that_stops_is_told_and_kept_until_the_machine_goes_on(graph: BlockGraph) -> None:
    notes = Notes()
    graph.observer = notes
    backend = await plug(await add(graph, "memory", "d0"))
    backend.policy = ErrorPolicy("report", "enospc")
    backend.error_action(False, BlockError("d0", errno.ENOSPC, "write"))
    [info] = await query_block(graph)
    assert info["io-status"] == "nospace"
    assert notes.calls == [
        (
            "io_error",
            {
                "node": "d0",
                "is_read": False,
                "action": "stop",
                "no_space": True,
                "reason": "No space left on device",
            },
        )
    ]
    await reset_io_statuses(graph)
    assert backend.io_status is IoStatus.OK


async def test_error_that_is_reported_leaves_the_status(graph: BlockGraph) -> None:
    notes = Notes()
    graph.observer = notes
    backend = await plug(await add(graph, "memory", "d0"))
    backend.error_action(True, BlockError("d0", errno.EIO, "read"))
    assert (notes.calls[0][1]["action"], backend.io_status) == ("report", IoStatus.OK)


# ---- limits


async def test_set_io_throttle_limits_are_shown_with_their_group(graph: BlockGraph) -> None:
    await plug(await add(graph, "memory", "d0"))
    await set_io_throttle(graph, {"id": "vd0", **NO_LIMITS, "iops": 100, "iops_max": 200, "iops_size": 4096})
    inserted = (await query_block(graph))[0]["inserted"]
    assert {key: value for key, value in inserted.items() if "iops" in key or key == "group"} == {
        "iops": 100,
        "iops_rd": 0,
        "iops_wr": 0,
        "iops_max": 200,
        "iops_max_length": 1,
        "iops_size": 4096,
        "group": "vd0",
    }


async def test_set_io_throttle_holds_requests_up_until_their_time(graph: BlockGraph) -> None:
    graph.throttle_groups.clock = Clock(ClockKind.REALTIME, FakeClock())
    backend = await plug(await add(graph, "memory", "d0"))
    await set_io_throttle(graph, {"id": "vd0", **NO_LIMITS, "iops": 10})
    requests = [start(backend.context, backend.preadv(0, Buffers.of(bytearray(512)))) for _ in range(3)]
    held_up = sum(not request.done() for request in requests)
    await set_io_throttle(graph, {"id": "vd0", **NO_LIMITS})
    assert held_up > 0
    assert all(request.done() for request in requests)
    assert backend.throttle is None


async def test_set_io_throttle_devices_of_one_group_share_limits(graph: BlockGraph) -> None:
    one = await plug(await add(graph, "memory", "d0"), "vd0")
    other = await plug(await add(graph, "memory", "d1"), "vd1")
    await set_io_throttle(graph, {"id": "vd0", **NO_LIMITS, "bps": 7, "group": "g"})
    await set_io_throttle(graph, {"device": "vd1", **NO_LIMITS, "bps": 9, "group": "g"})
    assert one.throttle is not None
    assert other.throttle is not None
    assert one.throttle.group is other.throttle.group
    assert one.throttle.group.config.buckets[0].average == 9


async def test_set_io_throttle_group_is_gone_with_its_last_member(graph: BlockGraph) -> None:
    backend = await plug(await add(graph, "memory", "d0"))
    await set_io_throttle(graph, {"id": "vd0", **NO_LIMITS, "bps": 7, "group": "g"})
    assert "g" in graph.throttle_groups
    await backend.remove()
    assert "g" not in graph.throttle_groups


async def test_set_io_throttle_moves_with_its_node(iothreads: list[IOThread], graph: BlockGraph) -> None:
    node = await add(graph, "memory", "d0")
    backend = await plug(node)
    await set_io_throttle(graph, {"id": "vd0", **NO_LIMITS, "iops": 1_000_000})
    home = iothreads[0].aio_context
    await move_nodes(node, home, [backend])
    data = await home.call(lambda: backend.pread(0, 512))
    assert backend.throttle is not None
    assert (backend.throttle.context, len(data)) == (home, 512)
    await home.call(backend.remove)


THROTTLES: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({**NO_LIMITS}, "Need exactly one of 'device' and 'id'"),
    "both": ({"id": "vd0", "device": "x", **NO_LIMITS}, "Need exactly one of 'device' and 'id'"),
    "nobody": ({"id": "zz", **NO_LIMITS}, "Device 'zz' not found"),
    "missing": ({"id": "vd0", "bps": 0}, "Parameter 'bps_rd' is missing"),
    "conflict": (
        {"id": "vd0", **NO_LIMITS, "iops": 100, "iops_rd": 10},
        "bps/iops/max total values and read/write values cannot be used at the same time",
    ),
    "burst": (
        {"id": "vd0", **NO_LIMITS, "iops": 100, "bps_max": 5},
        "bps_max/iops_max require corresponding bps/iops values",
    ),
    "length": ({"id": "vd0", **NO_LIMITS, "iops": 1, "bps_max_length": 5}, "burst length set without burst rate"),
    "negative": (
        {"id": "vd0", **NO_LIMITS, "bps": -1},
        "bps/iops/max values must be within [0, 1000000000000000]",
    ),
}


@pytest.mark.parametrize(("arguments", "words"), THROTTLES.values(), ids=THROTTLES.keys())
async def test_set_io_throttle_refused_in_qemus_words(graph: BlockGraph, arguments: dict[str, Any], words: str) -> None:
    await plug(await add(graph, "memory", "d0"))
    with pytest.raises(ControlError) as caught:
        await set_io_throttle(graph, arguments)
    assert str(caught.value) == words
