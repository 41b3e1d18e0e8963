# SPDX-License-Identifier: GPL-2.0-or-later
"""What the queries of the block layer tell, by QEMU's names of the types (qapi/block-core.json).

Most members have underscores on the wire: the models that say ``AS_SPELLED`` take the fields' names as they are.
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import ConfigDict, Field

from asyncemu.wire_model import WireModel


def _as_spelled(name: str) -> str:
    return name


AS_SPELLED: Final = ConfigDict(alias_generator=_as_spelled)


# ---- images


class SnapshotInfo(WireModel):
    """QEMU: SnapshotInfo. Sizes in bytes."""

    id: str
    name: str
    vm_state_size: int
    date_sec: int
    date_nsec: int
    vm_clock_sec: int
    vm_clock_nsec: int
    icount: int | None = None


class Qcow2BitmapInfo(WireModel):
    """QEMU: Qcow2BitmapInfo."""

    name: str
    #: Bytes.
    granularity: int
    flags: list[Literal["in-use", "auto"]]


class ImageInfoSpecificQCow2(WireModel):
    """QEMU: ImageInfoSpecificQCow2."""

    compat: str
    data_file: str | None = None
    data_file_raw: bool | None = None
    extended_l2: bool | None = None
    lazy_refcounts: bool | None = None
    corrupt: bool | None = None
    refcount_bits: int
    bitmaps: list[Qcow2BitmapInfo] | None = None
    compression_type: Literal["zlib", "zstd"]


class ImageInfoSpecific(WireModel):
    """QEMU: ImageInfoSpecific; of qcow2 images only."""

    type: Literal["qcow2"]
    data: ImageInfoSpecificQCow2


class ImageInfo(WireModel):
    """QEMU: ImageInfo. Sizes in bytes."""

    filename: str
    format: str
    dirty_flag: bool | None = None
    actual_size: int | None = None
    virtual_size: int
    cluster_size: int | None = None
    encrypted: bool | None = None
    compressed: bool | None = None
    backing_filename: str | None = None
    full_backing_filename: str | None = None
    backing_filename_format: str | None = None
    snapshots: list[SnapshotInfo] | None = None
    backing_image: ImageInfo | None = None
    format_specific: ImageInfoSpecific | None = None


# ---- nodes and devices


class BlockdevCacheInfo(WireModel):
    """QEMU: BlockdevCacheInfo."""

    writeback: bool
    direct: bool
    no_flush: bool


class BlockDirtyInfo(WireModel):
    """QEMU: BlockDirtyInfo."""

    name: str | None = None
    count: int
    granularity: int
    recording: bool
    busy: bool
    persistent: bool
    inconsistent: bool | None = None


class BlockDeviceInfo(WireModel):
    """QEMU: BlockDeviceInfo. Limits are of a second: bytes, requests; 0: none. Lengths in seconds."""

    model_config = AS_SPELLED

    file: str
    node_name: str | None = Field(default=None, alias="node-name")
    ro: bool
    drv: str
    backing_file: str | None = None
    backing_file_depth: int
    encrypted: bool
    detect_zeroes: Literal["off", "on", "unmap"]
    bps: int
    bps_rd: int
    bps_wr: int
    iops: int
    iops_rd: int
    iops_wr: int
    image: ImageInfo
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
    cache: BlockdevCacheInfo
    write_threshold: int
    dirty_bitmaps: list[BlockDirtyInfo] | None = Field(default=None, alias="dirty-bitmaps")


class BlockInfo(WireModel):
    """QEMU: BlockInfo."""

    device: str
    qdev: str | None = None
    type: str
    removable: bool
    locked: bool
    inserted: BlockDeviceInfo | None = None
    tray_open: bool | None = Field(default=None, alias="tray_open")
    io_status: Literal["ok", "failed", "nospace"] | None = None


# ---- statistics


class BlockDeviceTimedStats(WireModel):
    """QEMU: BlockDeviceTimedStats. The interval in seconds."""

    model_config = AS_SPELLED

    interval_length: int
    min_rd_latency_ns: int
    max_rd_latency_ns: int
    avg_rd_latency_ns: int
    min_wr_latency_ns: int
    max_wr_latency_ns: int
    avg_wr_latency_ns: int
    min_flush_latency_ns: int
    max_flush_latency_ns: int
    avg_flush_latency_ns: int
    avg_rd_queue_depth: float
    avg_wr_queue_depth: float


class BlockLatencyHistogramInfo(WireModel):
    """QEMU: BlockLatencyHistogramInfo. Boundaries in ns; one bin more than these."""

    boundaries: list[int]
    bins: list[int]


class BlockDeviceStats(WireModel):
    """QEMU: BlockDeviceStats."""

    model_config = AS_SPELLED

    rd_bytes: int
    wr_bytes: int
    unmap_bytes: int
    rd_operations: int
    wr_operations: int
    flush_operations: int
    unmap_operations: int
    rd_total_time_ns: int
    wr_total_time_ns: int
    flush_total_time_ns: int
    unmap_total_time_ns: int
    wr_highest_offset: int
    rd_merged: int
    wr_merged: int
    unmap_merged: int
    idle_time_ns: int | None = None
    failed_rd_operations: int
    failed_wr_operations: int
    failed_flush_operations: int
    failed_unmap_operations: int
    invalid_rd_operations: int
    invalid_wr_operations: int
    invalid_flush_operations: int
    invalid_unmap_operations: int
    account_invalid: bool
    account_failed: bool
    timed_stats: list[BlockDeviceTimedStats]
    rd_latency_histogram: BlockLatencyHistogramInfo | None = None
    wr_latency_histogram: BlockLatencyHistogramInfo | None = None
    flush_latency_histogram: BlockLatencyHistogramInfo | None = None


class BlockStatsSpecific(WireModel):
    """QEMU: BlockStatsSpecific: of files and host devices."""

    driver: str
    discard_nb_ok: int | None = None
    discard_nb_failed: int | None = None
    discard_bytes_ok: int | None = None


class BlockStats(WireModel):
    """QEMU: BlockStats."""

    device: str | None = None
    qdev: str | None = None
    node_name: str | None = None
    stats: BlockDeviceStats
    driver_specific: BlockStatsSpecific | None = None
    parent: BlockStats | None = None
    backing: BlockStats | None = None


# ---- the graph


class XDbgBlockGraphNode(WireModel):
    """QEMU: XDbgBlockGraphNode."""

    id: int
    type: Literal["block-backend", "block-job", "block-driver"]
    name: str


class XDbgBlockGraphEdge(WireModel):
    """QEMU: XDbgBlockGraphEdge."""

    parent: int
    child: int
    name: str
    perm: list[Literal["consistent-read", "write", "write-unchanged", "resize"]]
    shared_perm: list[Literal["consistent-read", "write", "write-unchanged", "resize"]]


class XDbgBlockGraph(WireModel):
    """QEMU: XDbgBlockGraph."""

    nodes: list[XDbgBlockGraphNode]
    edges: list[XDbgBlockGraphEdge]
