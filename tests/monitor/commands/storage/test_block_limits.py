# SPDX-License-Identifier: GPL-2.0-or-later
"""block_set_io_throttle, block-set-write-threshold, block-latency-histogram-set, and the events of disks."""

from __future__ import annotations

from typing import Any

import pytest

from asyncemu.block.backend import BlockBackend
from asyncemu.block.events import BlockIoError, BlockWriteThreshold
from asyncemu.errors import BlockError
from tests.monitor.commands.storage.conftest import Command, Commander
from tests.monitor.commands.storage.qemu import ask_qemu, needs_qemu

NULL = {"driver": "null-co", "size": 1 << 20}
DISK = {
    "blockdev": [{"node-name": "disk0", "driver": "raw", "file": {"node-name": "file0", **NULL}}],
    "device": [{"driver": "virtio-blk", "id": "blk0", "drive": "disk0"}],
}
NO_LIMITS = dict.fromkeys(("bps", "bps_rd", "bps_wr", "iops", "iops_rd", "iops_wr"), 0)


def backend_of(vm: Commander) -> BlockBackend:
    backend = vm.machine.block.nodes["disk0"].parents[0].parent
    assert isinstance(backend, BlockBackend)
    return backend


async def test_throttle_set_is_told_by_query_block_and_goes_again(command: Command) -> None:
    vm = await command(**DISK)
    await vm.reply("block_set_io_throttle", {**NO_LIMITS, "id": "blk0", "iops": 100, "iops_max": 500, "group": "g"})
    (limited,) = await vm.ask("query-block")

    await vm.reply("block_set_io_throttle", {**NO_LIMITS, "id": "blk0"})
    (free,) = await vm.ask("query-block")

    found = limited["inserted"]
    assert (found["iops"], found["iops_max"], found["iops_max_length"], found["group"]) == (100, 500, 1, "g")
    assert (free["inserted"]["iops"], "group" in free["inserted"]) == (0, False)


async def test_write_threshold_passed_is_told_once(command: Command) -> None:
    vm = await command(**DISK)
    await vm.ask("block-set-write-threshold", node_name="file0", write_threshold=4096)

    await backend_of(vm).pwrite(0, bytes(4096))
    await backend_of(vm).pwrite(4096, bytes(512))
    await backend_of(vm).pwrite(8192, bytes(512))

    assert vm.events == [BlockWriteThreshold(node_name="file0", amount_exceeded=512, write_threshold=4096)]


async def test_histogram_set_counts_requests_until_it_is_taken_away(command: Command) -> None:
    vm = await command(**DISK)
    await vm.ask("block-latency-histogram-set", id="blk0", boundaries=[1, 10**15], boundaries_flush=[5])
    await backend_of(vm).pread(0, 512)
    (counting,) = await vm.ask("query-blockstats")

    await vm.ask("block-latency-histogram-set", id="blk0")
    (not_counting,) = await vm.ask("query-blockstats")

    stats = counting["stats"]
    assert stats["rd_latency_histogram"] == {"boundaries": [1, 10**15], "bins": [0, 1, 0]}
    assert stats["flush_latency_histogram"] == {"boundaries": [5], "bins": [0, 0]}
    assert "rd_latency_histogram" not in not_counting["stats"]


async def test_io_error_of_a_device_is_told_with_what_is_done_about_it(command: Command) -> None:
    failing = {"driver": "blkdebug", "image": NULL, "inject-error": [{"event": "pwritev", "errno": 28}]}
    vm = await command(
        blockdev=[{"node-name": "disk0", **failing}],
        device=[{"driver": "virtio-blk", "id": "blk0", "drive": "disk0", "werror": "report"}],
    )
    backend = backend_of(vm)
    with pytest.raises(BlockError) as caught:
        await backend.pwrite(0, bytes(512))

    backend.error_action(False, caught.value)

    assert vm.events == [
        BlockIoError(
            node_name="disk0",
            operation="write",
            action="report",
            nospace=True,
            reason="No space left on device",
        )
    ]


def throttle(**more: Any) -> tuple[str, dict[str, Any]]:
    return "block_set_io_throttle", {**NO_LIMITS, "id": "blk0", **more}


SAME_ANSWERS: list[tuple[str, dict[str, Any]]] = [
    throttle(bps=1000),
    throttle(bps=1000, bps_rd=1),
    throttle(bps_max=5),
    throttle(bps=100, bps_max=5),
    throttle(bps=-1),
    throttle(bps=10**18),
    throttle(iops=5, iops_max_length=7),
    throttle(iops=5, iops_max=9, iops_max_length=0),
    throttle(iops_size=512),
    throttle(iops=5, iops_size=512, group="g"),
    throttle(bps="1"),
    throttle(bogus=1),
    ("block_set_io_throttle", {**NO_LIMITS, "id": "zz"}),
    ("block_set_io_throttle", {**NO_LIMITS, "device": "zz"}),
    ("block_set_io_throttle", {**NO_LIMITS}),
    ("block_set_io_throttle", {"id": "blk0"}),
    throttle(),
    ("block-set-write-threshold", {"node-name": "zz", "write-threshold": 1}),
    ("block-set-write-threshold", {"node-name": "file0", "write-threshold": 4096}),
    ("block-set-write-threshold", {"node-name": "file0"}),
    ("block-latency-histogram-set", {"id": "zz"}),
    ("block-latency-histogram-set", {"id": "blk0", "boundaries": [10, 5]}),
    ("block-latency-histogram-set", {"id": "blk0", "boundaries": [0, 5]}),
    ("block-latency-histogram-set", {"id": "blk0", "boundaries-read": [5, 5]}),
    ("block-latency-histogram-set", {"id": "blk0", "boundaries": [5, 10]}),
    ("block-latency-histogram-set", {"id": "blk0", "boundaries-flush": []}),
    ("block-latency-histogram-set", {"id": "blk0"}),
    ("block-latency-histogram-set", {}),
]


@needs_qemu
async def test_answers_are_qemus(command: Command) -> None:
    vm = await command(**DISK)
    blockdev = "driver=raw,node-name=disk0,file.driver=null-co,file.node-name=file0,file.size=1048576"
    device = "virtio-blk-device,id=blk0,drive=disk0"

    ours = await vm.replies(SAME_ANSWERS)
    theirs = await ask_qemu(SAME_ANSWERS, "-blockdev", blockdev, "-device", device)

    assert list(zip(SAME_ANSWERS, ours, strict=True)) == list(zip(SAME_ANSWERS, theirs, strict=True))
