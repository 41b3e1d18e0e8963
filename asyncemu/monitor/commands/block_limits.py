# SPDX-License-Identifier: GPL-2.0-or-later
"""Limits and measurements of disks: throttling, a threshold of writing, histograms of latency."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asyncemu.block.control import changes
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.commands.block_types import AS_SPELLED
from asyncemu.wire_model import WireModel


class BlockIOThrottle(WireModel):
    """Of block_set_io_throttle; QEMU: BlockIOThrottle. Of a second; lengths in seconds; 0: no limit."""

    model_config = AS_SPELLED

    device: str | None = None
    id: str | None = None
    bps: int
    bps_rd: int
    bps_wr: int
    iops: int
    iops_rd: int
    iops_wr: int
    bps_max: int | None = None
    bps_rd_max: int | None = None
    bps_wr_max: int | None = None
    iops_max: int | None = None
    iops_rd_max: int | None = None
    iops_wr_max: int | None = None
    bps_max_length: int | None = None
    bps_rd_max_length: int | None = None
    bps_wr_max_length: int | None = None
    iops_max_length: int | None = None
    iops_rd_max_length: int | None = None
    iops_wr_max_length: int | None = None
    iops_size: int | None = None
    group: str | None = None


class WriteThresholdArguments(WireModel):
    """Of block-set-write-threshold."""

    node_name: str
    #: Bytes from the beginning; 0: none.
    write_threshold: int = Field(ge=0, le=(1 << 64) - 1)


#: At most as many as anybody can look at.
Boundaries = Annotated[list[int], Field(max_length=1024)]


class LatencyHistogramArguments(WireModel):
    """Of block-latency-histogram-set. Boundaries in ns, growing; none at all: no histograms."""

    id: str
    boundaries: Boundaries | None = None
    boundaries_read: Boundaries | None = None
    boundaries_write: Boundaries | None = None
    boundaries_flush: Boundaries | None = None


@command("block_set_io_throttle")
async def block_set_io_throttle(call: Call, arguments: BlockIOThrottle) -> None:
    """Other limits for a device's disk, or for the group of disks that it is in."""
    await changes.set_io_throttle(call.control.machine.block, arguments.to_wire())


@command("block-set-write-threshold")
async def block_set_write_threshold(call: Call, arguments: WriteThresholdArguments) -> None:
    """Tell, by BLOCK_WRITE_THRESHOLD, when a write goes beyond; once."""
    await changes.set_write_threshold(call.control.machine.block, arguments.node_name, arguments.write_threshold)


@command("block-latency-histogram-set")
async def block_latency_histogram_set(call: Call, arguments: LatencyHistogramArguments) -> None:
    """Count requests by how long they take."""
    await changes.set_histograms(
        call.control.machine.block,
        arguments.id,
        arguments.boundaries,
        arguments.boundaries_read,
        arguments.boundaries_write,
        arguments.boundaries_flush,
    )
