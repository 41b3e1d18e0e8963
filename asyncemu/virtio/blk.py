# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-blk: a disk (virtio 1.2, 5.2)."""

from __future__ import annotations

import struct
from ctypes import LittleEndianStructure, c_uint8, c_uint16, c_uint32, c_uint64
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from asyncemu.block import BlockBackend, BlockNode, move_nodes
from asyncemu.block.error_policy import ErrorAction, ErrorPolicy
from asyncemu.block.flags import (
    MAY_UNMAP,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    PERM_WRITE_UNCHANGED,
)
from asyncemu.coroutines import reschedule_self
from asyncemu.errors import BlockError, GuestError
from asyncemu.loop import AioContext, IOThread, current_context
from asyncemu.memory import Buffers
from asyncemu.plugins import Reference
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.device import VirtioDevice
from asyncemu.virtio.options import VirtioOptions
from asyncemu.virtio.queue_declaration import virtqueue
from asyncemu.virtio.runner import HandleAgain
from asyncemu.virtio.vq_mapping import VqMapping, iothread_of_each_queue

#: The protocol's unit, whatever the disk's block size: 5.2.4.
SECTOR: Final = 512

# Features: 5.2.3.
F_SEG_MAX: Final = 1 << 2
F_RO: Final = 1 << 5
F_BLK_SIZE: Final = 1 << 6
F_FLUSH: Final = 1 << 9
F_MQ: Final = 1 << 12
F_DISCARD: Final = 1 << 13
F_WRITE_ZEROES: Final = 1 << 14

# Request types and status: 5.2.6.
IN: Final = 0
OUT: Final = 1
FLUSH: Final = 4
GET_ID: Final = 8
DISCARD: Final = 11
WRITE_ZEROES: Final = 13
OK: Final = b"\0"
IO_ERROR: Final = b"\1"
UNSUPPORTED: Final = b"\2"

ID_LENGTH: Final = 20
#: Segments of one discard or write-zeroes request, and sectors of one segment: 64 of at most 1 GiB bound the work that
#: one request can ask for.
MAX_SEGMENTS: Final = 64
MAX_SEGMENT_SECTORS: Final = 1 << 21
#: write-zeroes flag: 5.2.6.
UNMAP: Final = 1

_header = struct.Struct("<IIQ")
_segment = struct.Struct("<QII")


class BlkConfig(LittleEndianStructure):
    """5.2.4."""

    _pack_ = 1
    _fields_ = (
        ("capacity", c_uint64),
        ("size_max", c_uint32),
        ("seg_max", c_uint32),
        ("cylinders", c_uint16),
        ("heads", c_uint8),
        ("sectors", c_uint8),
        ("blk_size", c_uint32),
        ("physical_block_exp", c_uint8),
        ("alignment_offset", c_uint8),
        ("min_io_size", c_uint16),
        ("opt_io_size", c_uint32),
        ("writeback", c_uint8),
        ("unused0", c_uint8),
        ("num_queues", c_uint16),
        ("max_discard_sectors", c_uint32),
        ("max_discard_seg", c_uint32),
        ("discard_sector_alignment", c_uint32),
        ("max_write_zeroes_sectors", c_uint32),
        ("max_write_zeroes_seg", c_uint32),
        ("write_zeroes_may_unmap", c_uint8),
        ("unused1", c_uint8 * 3),
    )


class BlkOptions(VirtioOptions):
    """Options of virtio-blk."""

    drive: Annotated[str, Reference("blockdev"), Field(description="node-name of the disk's contents.")]
    serial: str = Field(default="", max_length=ID_LENGTH, description="Shown to the guest as the disk's id.")
    num_queues: int = Field(default=1, ge=1, le=64, description="Request queues.")
    queue_size: int = Field(default=256, ge=2, le=1024, description="Entries of each queue: a power of two.")
    logical_block_size: int = Field(default=512, ge=512, le=4096, description="Bytes; a power of two.")
    rerror: Literal["auto", "report", "ignore", "stop"] = Field(
        default="auto", description="When a read fails: the guest sees it, or success, or the machine stops."
    )
    werror: Literal["auto", "report", "ignore", "stop", "enospc"] = Field(
        default="auto", description="When a write fails; enospc, which is auto: stop for want of space, else report."
    )
    share_rw: bool = Field(default=False, description="Let others write the same disk.")
    discard: bool = Field(default=True, description="Offer discard to the guest.")
    write_zeroes: bool = Field(default=True, description="Offer write-zeroes to the guest.")
    iothread_vq_mapping: list[VqMapping] = Field(
        default=[], max_length=64, description="Iothreads that share the queues: iothread, and vqs (their numbers)."
    )

    @field_validator("queue_size", "logical_block_size")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise ValueError(f"{value} is not a power of two")
        return value

    @field_validator("iothread_vq_mapping")
    @classmethod
    def _complete(cls, value: list[VqMapping], info: ValidationInfo) -> list[VqMapping]:
        if value and info.data.get("iothread"):
            raise ValueError("can't go with iothread; leave one of the two out")
        if value and "num_queues" in info.data:
            iothread_of_each_queue(value, info.data["num_queues"])
        return value

    def iothreads(self) -> list[str]:
        """Id of the iothread of each queue; empty when all are served at the device's home."""
        if not self.iothread_vq_mapping:
            return []
        return iothread_of_each_queue(self.iothread_vq_mapping, self.num_queues)

    def home_iothread(self) -> str:
        """Where the first queue is served, as in QEMU."""
        return next(iter(self.iothreads()), self.iothread)


class VirtioBlk(VirtioDevice[BlkOptions], name="virtio-blk", device_id=2):
    """Disk on a block node.

    Writes reach the host's cache; what the guest has flushed survives. A driver that does not negotiate FLUSH gets each
    write flushed before it is acknowledged (5.2.6.2).
    """

    description = "Disk."

    drive: BlockNode
    Config = BlkConfig

    def features(self) -> int:
        offered = F_SEG_MAX | F_BLK_SIZE | F_FLUSH
        if self.options.num_queues > 1:
            offered |= F_MQ
        if self.drive.read_only:
            return offered | F_RO
        if self.options.discard:
            offered |= F_DISCARD
        if self.options.write_zeroes:
            offered |= F_WRITE_ZEROES
        return offered

    def queue_context(self, index: int) -> AioContext:
        iothreads = self.options.iothreads()
        if not iothreads:
            return self.context
        iothread: IOThread = self.environment.lookup("iothread", iothreads[index])
        return iothread.aio_context

    async def realize(self) -> None:
        options, config = self.options, self.config
        permissions = PERM_CONSISTENT_READ | (0 if self.drive.read_only else PERM_WRITE)
        shared = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED | PERM_RESIZE | (PERM_WRITE if options.share_rw else 0)
        self.backend = BlockBackend(self.id, self.context, permissions, shared)
        self.backend.user = self
        self.backend.is_device = True
        self.backend.policy = ErrorPolicy(options.rerror, options.werror)
        self.backend.on_resize = self._resized
        await self.backend.insert(self.drive)
        config.capacity = self.drive.size // SECTOR
        # Two descriptors of a request are its header and its status.
        config.seg_max = max(options.queue_size - 2, 1)
        config.blk_size = options.logical_block_size
        config.num_queues = options.num_queues
        config.max_discard_sectors = config.max_write_zeroes_sectors = MAX_SEGMENT_SECTORS
        config.max_discard_seg = config.max_write_zeroes_seg = MAX_SEGMENTS
        config.discard_sector_alignment = options.logical_block_size // SECTOR
        config.write_zeroes_may_unmap = 1
        self.config_changed()

    async def unrealize(self) -> None:
        await super().unrealize()
        await self.backend.remove()

    def _resized(self) -> None:
        """5.2.5: the driver reads the new capacity when it is told."""
        self.config.capacity = self.backend.size // SECTOR
        self.config_changed()

    async def before_move(self, context: AioContext) -> None:
        await move_nodes(self.drive, context, [self.backend])

    @virtqueue(size="queue_size", count="num_queues")
    async def requestq(self, request: Chain) -> None:
        """One request: a 16-byte header, data, and a status byte at the very end (5.2.6)."""
        if request.capacity < 1 or request.readable.nbytes < _header.size:
            raise GuestError("a request without header or status")
        kind, _, sector = _header.unpack(request.readable.take(_header.size))
        status = request.writable.take_last(1)
        try:
            if self.backend.context.in_home():
                result = await self._serve(kind, sector * SECTOR, request)
            else:
                result = await self._serve_away(kind, sector * SECTOR, request)
        except BlockError as error:
            result = self._failed_request(kind == IN, error)
        status.write(result)

    def _failed_request(self, is_read: bool, error: BlockError) -> bytes:
        """What the driver is told; HandleAgain when the machine stops instead."""
        action = self.backend.error_action(is_read, error)
        if action is ErrorAction.STOP:
            self.log.warning("%s; the machine is stopped. When there is room again, go on with: kill -CONT", error)
            self.environment.platform.request_io_error_stop()
            raise HandleAgain
        self.log.info("%s", error)
        return OK if action is ErrorAction.IGNORE else IO_ERROR

    async def _serve_away(self, kind: int, offset: int, request: Chain) -> bytes:
        """From a queue with a home of its own: the request goes to the drive's, and comes back to be pushed."""
        here = current_context()
        assert here is not None
        await reschedule_self(self.backend.context)
        try:
            return await self._serve(kind, offset, request)
        finally:
            await reschedule_self(here)

    async def _serve(self, kind: int, offset: int, request: Chain) -> bytes:
        if kind == IN:
            if not self._fits(offset, request.writable):
                return IO_ERROR
            await self.backend.preadv(offset, request.writable)
            return OK
        if kind == OUT:
            if not self._fits(offset, request.readable):
                return IO_ERROR
            await self.backend.pwritev(offset, request.readable)
            if not self.has(F_FLUSH):
                await self.backend.flush()
            return OK
        if kind == FLUSH:
            await self.backend.flush()
            return OK
        if kind == GET_ID:
            request.writable.write(self.options.serial.encode()[:ID_LENGTH].ljust(ID_LENGTH, b"\0"))
            return OK
        if kind in (DISCARD, WRITE_ZEROES) and self.has(F_DISCARD if kind == DISCARD else F_WRITE_ZEROES):
            return await self._ranges(kind, request.readable)
        return UNSUPPORTED

    def _fits(self, offset: int, data: Buffers) -> bool:
        """5.2.6.1: whole blocks, within the disk."""
        length = data.nbytes
        block = self.options.logical_block_size
        return not (offset % block or length % block) and 0 < length <= self.backend.size - offset

    async def _ranges(self, kind: int, data: Buffers) -> bytes:
        if not data.nbytes or data.nbytes % _segment.size or data.nbytes > MAX_SEGMENTS * _segment.size:
            return IO_ERROR
        # Checked before anything is done: a request with one bad segment changes nothing.
        segments: list[tuple[int, int, int]] = []
        for sector, count, flags in _segment.iter_unpack(data.tobytes()):
            if flags & ~UNMAP or (kind == DISCARD and flags):
                return UNSUPPORTED
            if count > MAX_SEGMENT_SECTORS or (sector + count) * SECTOR > self.backend.size:
                return IO_ERROR
            segments.append((sector * SECTOR, count * SECTOR, flags))
        for offset, length, flags in segments:
            if kind == DISCARD:
                await self.backend.discard(offset, length)
            else:
                await self.backend.write_zeroes(offset, length, MAY_UNMAP if flags & UNMAP else 0)
        if not self.has(F_FLUSH):
            await self.backend.flush()
        return OK
