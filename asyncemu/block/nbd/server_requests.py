# SPDX-License-Identifier: GPL-2.0-or-later
"""RequestHandler: what a server does for each request, and what it replies. Spec: proto.md, "Request types".

Reads and their messages go as in QEMU 7.2, with two differences. Where a read finds pieces of data next to each other
they are one chunk. And a read that fails in the middle gets an error chunk, where QEMU hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
from collections.abc import Sequence
from typing import Final, Protocol

from asyncemu.block.flags import COPY_ON_READ, FUA, MAY_UNMAP, NO_FALLBACK, PREFETCH
from asyncemu.block.nbd.buffer_pool import BufferPool
from asyncemu.block.nbd.channel import Piece
from asyncemu.block.nbd.constants import (
    CMD_BLOCK_STATUS,
    CMD_CACHE,
    CMD_FLAG_DF,
    CMD_FLAG_FAST_ZERO,
    CMD_FLAG_FUA,
    CMD_FLAG_NO_HOLE,
    CMD_FLAG_REQ_ONE,
    CMD_FLUSH,
    CMD_READ,
    CMD_TRIM,
    CMD_WRITE,
    CMD_WRITE_ZEROES,
    REPLY_FLAG_DONE,
)
from asyncemu.block.nbd.error_values import error_value
from asyncemu.block.nbd.export import NbdExport
from asyncemu.block.nbd.extents import MAX_EXTENTS, TURN, ExtentList
from asyncemu.block.nbd.messages import (
    Request,
    block_status_chunk,
    data_chunk,
    error_chunk,
    hole_chunk,
    none_chunk,
    simple_reply,
)
from asyncemu.block.nbd.server_transmission import Incoming
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers

#: QEMU's words for what a request could not do.
_FAILURES: Final = {
    CMD_READ: "reading from file failed",
    CMD_WRITE: "writing to file failed",
    CMD_FLUSH: "flush failed",
    CMD_TRIM: "discard failed",
    CMD_CACHE: "caching data failed",
    CMD_WRITE_ZEROES: "writing to file failed",
    CMD_BLOCK_STATUS: "can't get block status",
}

#: Bytes of one step of a CACHE.
_CACHE_STEP: Final = 1 << 20


class ClientGone(Exception):
    """Nobody is there for the reply."""


class Replies(Protocol):
    """Where replies go, whole and in the order of the calls."""

    def send(self, pieces: Sequence[Piece]) -> asyncio.Future[None] | None:
        """Send one message. None: it has gone; else it is going, and the pieces are in use until that future is done.

        Both raise ClientGone.
        """

    def done(self, incoming: Incoming) -> None:
        """Nothing of that request is left to do."""

    def hang_up(self, reason: str) -> None:
        """The client is not to be served any more."""


class RequestHandler:
    """Requests of one client for one export. Home: the export's backend's."""

    def __init__(
        self, export: NbdExport, contexts: Sequence[int], structured_replies: bool, pool: BufferPool, replies: Replies
    ) -> None:
        self._backend = export.backend
        self._read_only = export.read_only
        self._known_data = export.known_data
        #: Metadata contexts that were negotiated, by id.
        self._sources = {id: export.sources[id] for id in contexts}
        self._structured = structured_replies
        self._pool = pool
        self._replies = replies
        self._send = replies.send

    async def handle(self, incoming: Incoming) -> None:
        """Do it, reply, and say that it is done."""
        request, data, refusal = incoming
        try:
            if refusal is not None:
                await self._fail(request.cookie, refusal.error, refusal.message)
            elif request.type == CMD_READ:
                await self._read(request)
            elif request.type == CMD_BLOCK_STATUS:
                await self._block_status(request)
            else:
                if data is not None:
                    flags = FUA if request.flags & CMD_FLAG_FUA else 0
                    if request.length:
                        await self._backend.pwritev(request.offset, Buffers((data,)), flags)
                else:
                    await self._do_without_data(request)
                # As QEMU: a simple reply to all but reads, also where structured ones were negotiated.
                going = self._send((simple_reply(request.cookie),))
                if going is not None:
                    await going
        except ClientGone:
            pass
        except (BlockError, OSError) as error:
            with contextlib.suppress(ClientGone):
                await self._fail(request.cookie, error_value(error.errno or errno.EIO), _FAILURES[request.type])
        except BaseException:
            # A bug of ours: without the reply the client would wait for ever.
            self._replies.hang_up("internal error")
            raise
        finally:
            if data is not None:
                self._pool.give(data)
            self._replies.done(incoming)

    async def _do_without_data(self, request: Request) -> None:
        kind = request.type
        if kind == CMD_FLUSH:
            await self._backend.flush()
        elif kind == CMD_WRITE_ZEROES:
            await self._write_zeroes(request)
        elif kind == CMD_TRIM:
            await self._trim(request)
        elif kind == CMD_CACHE:
            await self._cache(request)

    async def _fail(self, cookie: int, error: int, message: str) -> None:
        await self._reply(error_chunk(cookie, error, message) if self._structured else simple_reply(cookie, error))

    async def _reply(self, *pieces: Piece) -> None:
        going = self._send(pieces)
        if going is not None:
            await going

    # ---- reads

    async def _read(self, request: Request) -> None:
        flags, _, cookie, offset, length = request
        if not flags and length and self._structured and self._known_data.covers(offset, offset + length):
            # As _read_data, written out: nothing is asked for as often.
            data = self._pool.take(length)
            try:
                await self._backend.preadv(offset, Buffers((data,)))
                going = self._send((data_chunk(cookie, offset, length), data))
                if going is not None:
                    await going
            finally:
                self._pool.give(data)
            return
        if flags & CMD_FLAG_FUA:
            await self._backend.flush()
        if not length:
            await self._reply(none_chunk(cookie) if self._structured else simple_reply(cookie))
        elif not self._structured:
            await self._read_data(simple_reply(cookie), offset, length)
        elif flags & CMD_FLAG_DF:
            await self._read_data(data_chunk(cookie, offset, length), offset, length)
        else:
            await self._read_sparse(cookie, offset, length)

    async def _read_data(self, head: bytes, offset: int, length: int) -> None:
        data = self._pool.take(length)
        try:
            await self._backend.preadv(offset, Buffers((data,)))
            await self._reply(head, data)
        finally:
            self._pool.give(data)

    async def _read_sparse(self, cookie: int, offset: int, length: int) -> None:
        """A chunk for each run of data and each hole."""
        start = position = offset
        end = offset + length
        hole = False
        for asked in itertools.count(1):
            is_hole, known = await self._known_data.is_hole(position, end)
            if is_hole != hole:
                if position > start:
                    await self._run(cookie, start, position, hole, 0)
                start, hole = position, is_hole
            position = known
            if position == end:
                break
            if asked % TURN == 0:
                await asyncio.sleep(0)
        await self._run(cookie, start, end, hole, REPLY_FLAG_DONE)

    async def _run(self, cookie: int, start: int, end: int, hole: bool, flags: int) -> None:
        if hole:
            await self._reply(hole_chunk(cookie, start, end - start, flags))
        else:
            await self._read_data(data_chunk(cookie, start, end - start, flags), start, end - start)

    async def _block_status(self, request: Request) -> None:
        left = len(self._sources)
        for context, source in self._sources.items():
            left -= 1
            extents = ExtentList(1 if request.flags & CMD_FLAG_REQ_ONE else MAX_EXTENTS)
            await source.fill(extents, request.offset, request.length)
            if not extents.extents:
                raise OSError(errno.EIO, "no status")
            flags = 0 if left else REPLY_FLAG_DONE
            await self._reply(block_status_chunk(request.cookie, context, extents.extents, flags))

    # ---- the others

    async def _write_zeroes(self, request: Request) -> None:
        if not request.length:
            return
        flags = 0 if request.flags & CMD_FLAG_NO_HOLE else MAY_UNMAP
        if request.flags & CMD_FLAG_FUA:
            flags |= FUA
        if request.flags & CMD_FLAG_FAST_ZERO:
            flags |= NO_FALLBACK
        try:
            await self._backend.write_zeroes(request.offset, request.length, flags)
        finally:
            self._known_data.forget(request.offset, request.length)

    async def _trim(self, request: Request) -> None:
        if request.length:
            try:
                await self._backend.discard(request.offset, request.length)
            finally:
                self._known_data.forget(request.offset, request.length)
        if request.flags & CMD_FLAG_FUA:
            await self._backend.flush()

    async def _cache(self, request: Request) -> None:
        """Bring it nearer: into the top layer, where that may be written, or into the host's page cache."""
        flags = 0 if self._read_only else COPY_ON_READ | PREFETCH
        offset, end = request.offset, request.offset + request.length
        scratch = self._pool.take(_CACHE_STEP)
        try:
            while offset < end:
                step = min(_CACHE_STEP, end - offset)
                await self._backend.preadv(offset, Buffers((scratch[:step],)), flags)
                offset += step
        finally:
            self._pool.give(scratch)
