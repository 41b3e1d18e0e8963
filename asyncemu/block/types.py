# SPDX-License-Identifier: GPL-2.0-or-later
"""Values that drivers, nodes and tools exchange about images."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from asyncemu.block.node import BlockNode

#: How storage for new parts of an image is provided (QEMU: PreallocMode).
Preallocation: TypeAlias = Literal["off", "metadata", "falloc", "full"]

#: Which of what ``check`` finds is repaired: nothing, leaks, or all.
Repair: TypeAlias = Literal["", "leaks", "all"]


class BlockStatus(NamedTuple):
    """What is known about the first ``length`` bytes that were asked about."""

    #: STATUS_* of flags.py.
    flags: int
    #: Bytes.
    length: int
    #: With STATUS_OFFSET_VALID or STATUS_RAW: offset in ``file``, bytes.
    map: int = 0
    file: BlockNode | None = None


class CheckResult:
    """What ``BlockDriver.check`` found and did; counts of clusters."""

    # No dataclass: to make one costs the tools' start-up a millisecond.

    corruptions: int = 0
    leaks: int = 0
    check_errors: int = 0
    corruptions_fixed: int = 0
    leaks_fixed: int = 0
    #: Bytes from the start of the file that are in use.
    image_end_offset: int = 0
    total_clusters: int = 0
    allocated_clusters: int = 0
    fragmented_clusters: int = 0
    compressed_clusters: int = 0

    def __init__(self, findings: list[str] | None = None, *, total_clusters: int = 0) -> None:
        #: A line for each finding, in QEMU's words, in order.
        self.findings = [] if findings is None else findings
        self.total_clusters = total_clusters


class CheckFailed(OSError):
    """``BlockDriver.check`` could not go on; ``result`` is what it had found by then."""

    def __init__(self, number: int, result: CheckResult) -> None:
        super().__init__(number, os.strerror(number))
        self.result = result


class ImageInfo(NamedTuple):
    """What a driver knows about its image beyond name and size."""

    #: Bytes; 0: no clusters.
    cluster_size: int = 0
    #: Bytes behind the guest's data where the VM state is.
    vm_state_offset: int = 0
    compressed: bool = False
    dirty: bool = False
    encrypted: bool = False
    corrupt: bool = False
    #: QEMU's ImageInfoSpecific ``data``, with QMP's keys, or None: the format has nothing to say.
    format_specific: Mapping[str, object] | None = None


class SnapshotInfo(NamedTuple):
    """An internal snapshot (QEMU: QEMUSnapshotInfo)."""

    id: str
    name: str
    #: Bytes.
    vm_state_size: int
    #: Host wall clock when it was taken.
    date_seconds: int
    date_nanoseconds: int
    #: Guest time when it was taken.
    vm_clock_ns: int
    #: Instructions executed; -1: not known.
    icount: int = -1
    #: Bytes of the disk when it was taken; 0: not recorded.
    disk_size: int = 0


class Measurement(NamedTuple):
    """Bytes that an image would need (QEMU: BlockMeasureInfo)."""

    required: int
    fully_allocated: int
    #: For copying persistent bitmaps; None: the source can't have any.
    bitmaps: int | None = None


class Reopening(Protocol):
    """What ``BlockDriver.prepare_reopen`` has made ready. Exactly one of the two is called, in the node's home."""

    async def commit(self) -> None:
        """Change over. Does not fail."""

    async def abort(self) -> None:
        """Forget it; all is as it was."""
