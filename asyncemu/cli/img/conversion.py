# SPDX-License-Identifier: GPL-2.0-or-later
"""The copying of ``img convert``: several coroutines, each of which takes the next piece, reads it and writes it.

What a piece is, the block status tells: data are read, looked through for zeroes and written; zeroes are written as
such, or not at all where the target reads as zeroes already; what the source does not have is left to the target's
backing file, if it has one. Pieces are taken in order. They are written in order, too, one after the other, unless
``-W`` allows any order: the same source gives the same image. QEMU: convert_do_copy.
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
from collections.abc import Sequence
from typing import Final, TypeAlias

from asyncemu.block.flags import MAY_UNMAP, WRITE_COMPRESSED
from asyncemu.cli.img.conversion_source import DATA, ZERO, ConcatenatedSource, Piece
from asyncemu.cli.img.conversion_target import Target
from asyncemu.cli.img.convert_options import LONGEST_BUFFER, SECTOR, ConvertOptions
from asyncemu.cli.img.sectors import data_runs
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.opening import Image
from asyncemu.cli.tools.progress import ProgressLine
from asyncemu.coroutines import CoMutex, RateLimit, start
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext, Clock, ClockKind, MonotonicSource
from asyncemu.memory.buffers import Buffers

#: Bytes of a piece of data at the most, where the target does not like larger ones. QEMU: IO_BUF_SIZE.
_BUFFER: Final = 2 << 20


#: An offset, and data that are to be there, or the number of bytes that are to be zero.
Request: TypeAlias = tuple[int, memoryview | int]


class Conversion:
    """``run`` once. Home: ``context``."""

    def __init__(
        self,
        context: AioContext,
        options: ConvertOptions,
        sources: Sequence[Image],
        target: Target,
        progress: ProgressLine,
    ) -> None:
        self._context = context
        self._options = options
        self._progress = progress
        self._target = target.image
        self._cluster_size = target.cluster_size
        self._source = ConcatenatedSource(
            sources, backing_size=target.backing_size, salvage=options.salvage, quiet=options.quiet
        )
        self._reads_as_zero = self._is_zero_already(target)
        self._copies_ranges = options.copy_range
        self._buffer_size = _buffer_size(target.image)
        #: Zeroes are looked for in blocks of this many bytes.
        sparse_block = 1 << (options.sparse_size.bit_length() - 1) if options.sparse_size else SECTOR
        self._block = max(sparse_block, target.image.node.limits.request_alignment, SECTOR)
        self._rate = RateLimit()
        self._rate.set_speed(options.rate_limit)
        self._clock = Clock(ClockKind.REALTIME, MonotonicSource())
        #: Held by who looks for the next piece.
        self._finding = CoMutex()
        self._next = 0
        #: Whose turn it is to write; who waits for his turn, by offset.
        self._turn = 0
        self._turns: dict[int, asyncio.Future[None]] = {}
        self._error: ToolError | None = None
        #: Bytes of data to be copied, and those that have been taken on.
        self._total = 0
        self._done = 0

    async def run(self) -> None:
        """Copy all. ToolError."""
        await self._source.look_at_clusters()
        if self._options.compressed:
            if not 0 < self._cluster_size <= self._buffer_size:
                raise ToolError("invalid cluster size")
            # Whole clusters; the driver compresses several at once.
            self._buffer_size -= self._buffer_size % self._cluster_size
            self._block = self._cluster_size
        await self._count()
        workers = [start(self._context, self._work()) for _ in range(self._options.coroutines)]
        for worker in workers:
            await worker
        if self._error is not None:
            raise self._error
        if self._options.compressed:
            await self._fill_last_sector()

    # ---- before and after

    def _is_zero_already(self, target: Target) -> bool:
        """Does the target read as zeroes?"""
        if self._options.target_is_zero:
            return True
        is_plain = target.is_new and target.backing_size is None
        return is_plain and bool(self._options.sparse_size) and target.image.node.driver.has_zero_init()

    async def _fill_last_sector(self) -> None:
        """Compressed data end anywhere; a file of whole sectors is easier to read for others."""
        file = self._target.node.primary_child
        if file is not None and file.size % SECTOR:
            await file.truncate(-(-file.size // SECTOR) * SECTOR)

    async def _count(self) -> None:
        """How much there is to do, for who wants to see it done: SIGUSR1 may ask at any time."""
        offset = 0
        while offset < self._source.size:
            piece = await self._find(offset)
            if self._is_copied(piece):
                self._total += piece.length
            offset += piece.length
        self._source.rewind()

    def _is_copied(self, piece: Piece) -> bool:
        return piece.kind is DATA or (piece.kind is ZERO and not self._options.sparse_size)

    async def _find(self, offset: int) -> Piece:
        """The next piece, of a size that is good to write."""
        piece = await self._source.find(offset)
        if self._is_copied(piece):
            piece = piece._replace(length=min(piece.length, self._buffer_size))
        if self._options.compressed:
            # Clusters are compressed as a whole.
            cluster = self._cluster_size
            if piece.length < cluster:
                piece = piece._replace(length=min(cluster, self._source.size - offset), kind=DATA)
            else:
                piece = piece._replace(length=piece.length - piece.length % cluster)
        return piece

    # ---- the coroutines

    async def _work(self) -> None:
        buffer = memoryview(mmap.mmap(-1, self._buffer_size))  # aligned for direct I/O
        try:
            while self._error is None:
                async with self._finding:
                    if self._next >= self._source.size or self._error is not None:
                        return
                    piece = await self._find(self._next)
                    self._next += piece.length
                    if self._is_copied(piece):
                        self._done += piece.length
                        self._progress.of(self._done, self._total)
                await self._copy(piece, buffer)
        except ToolError as error:
            self._fail(error)
        except BlockError as error:
            self._fail(ToolError(f"error while converting: {os.strerror(error.errno)}"))

    async def _copy(self, piece: Piece, buffer: memoryview) -> None:
        view = buffer[: piece.length]
        if piece.kind is ZERO and not self._options.sparse_size:
            view[:] = bytes(piece.length)
            piece = piece._replace(kind=DATA)
            has_data = True
        else:
            has_data = piece.kind is DATA and not self._copies_ranges
            if has_data:
                await self._read(piece, view)
        if not self._options.out_of_order:
            await self._wait_for_turn(piece.offset)
        if self._error is not None:
            return
        if piece.kind is DATA and (has_data or not await self._copy_range(piece)):
            if not has_data:
                await self._read(piece, view)
            await self._write(piece, self._data_requests(piece.offset, view))
        elif piece.kind is ZERO:
            await self._write(piece, [(piece.offset, piece.length)])
        if piece.kind is DATA and self._options.rate_limit:
            await self._rate.wait(piece.length, self._clock)
        if not self._options.out_of_order:
            await self._pass_turn(piece)

    async def _read(self, piece: Piece, view: memoryview) -> None:
        try:
            await self._source.read(piece.offset, view)
        except BlockError as error:
            reason = os.strerror(error.errno)
            raise ToolError(f"error while reading at byte {piece.offset}: {reason}") from error

    async def _copy_range(self, piece: Piece) -> bool:
        """Have the storage copy it. False: it can't, for once and for all."""
        offset = piece.offset
        end = offset + piece.length
        while offset < end:
            image, at, left = self._source.place(offset)
            length = min(left, end - offset)
            try:
                if at + length > image.backend.size:
                    raise BlockError("", errno.ENOTSUP)
                await image.backend.copy_range(at, self._target.backend, offset, length, 0, self._target.write_flags)
            except BlockError:
                self._copies_ranges = False
                return False
            offset += length
        return True

    def _data_requests(self, offset: int, view: memoryview) -> list[Request]:
        """What to write of data that are at ``offset``."""
        if not self._options.sparse_size:
            return [(offset, view)]
        requests: list[Request] = []
        shortest = 0 if self._options.compressed else self._options.sparse_size
        for is_data, length in data_runs(view, offset, self._block, shortest):
            requests.append((offset, view[:length] if is_data else length))
            offset += length
            view = view[length:]
        return requests

    async def _write(self, piece: Piece, requests: Sequence[Request]) -> None:
        if self._reads_as_zero:
            requests = [request for request in requests if not isinstance(request[1], int)]
        try:
            if self._may_overlap(piece, requests):
                sending = start(self._context, self._send(*requests[0]))
                self._give_turn(piece)
                await sending
                return
            for request in requests:
                await self._send(*request)
        except BlockError as error:
            reason = os.strerror(error.errno)
            raise ToolError(f"error while writing at byte {piece.offset}: {reason}") from error

    def _may_overlap(self, piece: Piece, requests: Sequence[Request]) -> bool:
        """May what is behind ``piece`` begin to be written before ``piece`` has been?

        Where the target takes a place in its file as soon as the request is made, which is so for whole clusters that
        one table maps, the image is the same. A write is on its way then while the one before it ends.
        """
        if self._options.compressed or self._options.out_of_order or self._options.rate_limit:
            return False
        if len(requests) != 1 or isinstance(requests[0][1], int) or len(requests[0][1]) != piece.length:
            return False
        cluster, end = self._cluster_size, piece.offset + piece.length
        if not cluster:
            return True
        # Entries of 16 bytes: the most that a format has.
        mapped = cluster * cluster // 16
        is_whole = not piece.offset % cluster and not end % cluster
        return is_whole and piece.offset // mapped == (end - 1) // mapped

    async def _send(self, offset: int, what: memoryview | int) -> None:
        flags = self._target.write_flags
        if isinstance(what, int):
            await self._target.backend.write_zeroes(offset, what, MAY_UNMAP | flags)
            return
        if self._options.compressed:
            flags |= WRITE_COMPRESSED
        await self._target.backend.pwritev(offset, Buffers((what,)), flags)

    # ---- turns

    async def _wait_for_turn(self, offset: int) -> None:
        if self._turn < offset and self._error is None:
            turn = self._turns[offset] = self._context.loop.create_future()
            await turn

    async def _pass_turn(self, piece: Piece) -> None:
        """What is behind ``piece`` may be written, unless it may already; returns when that is on its way.

        The caller will read next, which holds the loop up when the bytes are in the page cache: the disk, or the thread
        that copies into the cache, would have nothing to do meanwhile. One round until the other has made the request,
        and one until it has been handed over.
        """
        if self._turn >= piece.offset + piece.length:
            return
        self._give_turn(piece)
        for _ in range(2):
            await asyncio.sleep(0)

    def _give_turn(self, piece: Piece) -> None:
        self._turn = piece.offset + piece.length
        self._wake(self._turn)

    def _wake(self, offset: int) -> None:
        turn = self._turns.pop(offset, None)
        if turn is not None:
            turn.set_result(None)

    def _fail(self, error: ToolError) -> None:
        """The first error is told; all stop."""
        if self._error is None:
            self._error = error
        for offset in list(self._turns):
            self._wake(offset)


def _buffer_size(target: Image) -> int:
    """What the target takes best."""
    limits = target.node.limits
    return min(LONGEST_BUFFER, max(_BUFFER, limits.opt_transfer, limits.discard_alignment))
