# SPDX-License-Identifier: GPL-2.0-or-later
"""ClientTransmission: a client's side of the transmission, without I/O: requests out, replies in, checked.

    pending, head = transmission.begin(CMD_READ, 0, offset, length, buffers)
    ...                                     send head, and behind it a write's data
    views = transmission.targets()          where the next bytes go: often a read's own buffers
    transmission.received(sock.recvmsg_into(views)[0])
    while (ended := transmission.next()) is not None:
        ...                                 a request that has been answered: ended.error

A server that claims success without having sent all data, sends something twice, or answers what was not asked breaks
the protocol; QEMU's client does not look at the first two. Spec: proto.md, "Structured reply types", "Request types".
"""

from __future__ import annotations

from typing import Final

from asyncemu.block.nbd.constants import (
    CMD_BLOCK_STATUS,
    CMD_READ,
    COMMAND_NAMES,
    REPLY_FLAG_DONE,
    REPLY_TYPE_BLOCK_STATUS,
    REPLY_TYPE_FLAG_ERROR,
    REPLY_TYPE_NONE,
    REPLY_TYPE_OFFSET_DATA,
    REPLY_TYPE_OFFSET_HOLE,
)
from asyncemu.block.nbd.coverage import Coverage
from asyncemu.block.nbd.error_values import errno_of
from asyncemu.block.nbd.messages import (
    MAX_ERROR_PAYLOAD,
    InvalidMessage,
    ReplyHead,
    Request,
    decode_block_status,
    decode_data_offset,
    decode_error,
    decode_hole,
    decode_reply_head,
)
from asyncemu.errors import ProtocolError
from asyncemu.memory.buffers import Buffers

#: Bytes received at once while it is not known where they belong: the reply to a read of 4 KiB comes in one system
#: call. Holds any payload that is not data.
STAGING_SIZE: Final = 16 << 10
#: Bytes of the payload of a chunk without data. One extent is asked for; a server that sends many is borne with.
MAX_PAYLOAD: Final = 8 << 10
_DATA_OFFSET_SIZE: Final = 8

_discarded: Final = memoryview(bytearray(64 << 10))

assert MAX_ERROR_PAYLOAD <= MAX_PAYLOAD < STAGING_SIZE


class PendingRequest:
    """A request that has not been answered yet; or that has, then its result."""

    __slots__ = ("abandoned", "buffers", "coverage", "error", "extents", "message", "request", "waiter")

    def __init__(self, request: Request, buffers: Buffers | None) -> None:
        self.request = request
        #: Where the data of a read go.
        self.buffers = buffers
        self.coverage: Coverage | None = None
        #: An errno; 0: success.
        self.error = 0
        #: What the server said about the error.
        self.message = ""
        #: Answer to BLOCK_STATUS: (length in bytes, status flags).
        self.extents: list[tuple[int, int]] = []
        #: Nobody is there for the result any more.
        self.abandoned = False
        #: For the owner: who waits.
        self.waiter: object = None


class ClientTransmission:
    """One connection. ``next`` raises ProtocolError: hang up."""

    def __init__(
        self, structured_replies: bool, context_id: int | None = None, *, rest: bytes = b"", peer: str = "server"
    ) -> None:
        self._structured = structured_replies
        self._context_id = context_id
        self._peer = peer
        self.pending: dict[int, PendingRequest] = {}
        self._last_cookie = 0
        # Room for what the handshake has left behind, which may be more than we ever receive at once.
        self._staging = memoryview(bytearray(max(STAGING_SIZE, len(rest))))
        self._staging[: len(rest)] = rest
        self._start = 0
        self._end = len(rest)
        #: Bytes of the stream before ``_start``.
        self._offset = 0
        #: The head of the message whose payload is on its way.
        self._head: ReplyHead | None = None
        #: Of a payload of data: whose it is, where it goes, and how many bytes are missing.
        self._reader: PendingRequest | None = None
        self._targets = Buffers()
        self._missing = 0

    # ---- requests

    def begin(
        self, kind: int, flags: int, offset: int, length: int, buffers: Buffers | None = None
    ) -> tuple[PendingRequest, bytes]:
        """A new request: what to wait for, and what to send (before a write's data)."""
        self._last_cookie = cookie = (self._last_cookie + 1) & 0xFFFF_FFFF_FFFF_FFFF
        request = Request(flags, kind, cookie, offset, length)
        pending = PendingRequest(request, buffers)
        self.pending[cookie] = pending
        return pending, request.encode()

    def abandon(self, pending: PendingRequest) -> None:
        """Leave its buffers alone from now on; its reply is still to come."""
        pending.abandoned = True
        pending.buffers = None
        if self._reader is pending:
            self._targets.clear()

    # ---- bytes

    @property
    def midway(self) -> bool:
        """Would the end of the stream cut something in two?"""
        return self._reader is not None or self._head is not None or self._start != self._end

    def targets(self) -> Buffers:
        """Where the next bytes of the stream go; never empty once ``next`` has given None."""
        if self._reader is None:
            return Buffers((self._staging[self._end :],))
        return self._targets or Buffers((_discarded[: self._missing],))

    def received(self, count: int) -> None:
        """So many bytes have been put there."""
        if self._reader is None:
            self._end += count
            return
        self._missing -= count
        self._offset += count
        if self._targets:
            self._targets = self._targets.split(count)[1]

    def next(self) -> PendingRequest | None:
        """The next request that has been answered, abandoned ones included; None: receive more first."""
        try:
            while True:
                if self._reader is not None:
                    if self._missing:
                        return None
                    ended = self._data_came(self._reader)
                else:
                    if self._head is None:
                        self._head = decode_reply_head(self._staging, self._start, self._end)
                        if self._head is None:
                            self._move_to_front()
                            return None
                        self._skip(self._head.size)
                    if not self._payload_came(self._head):
                        self._move_to_front()
                        return None
                    ended = self._message(self._head)
                if ended is not None:
                    del self.pending[ended.request.cookie]
                    return ended
        except InvalidMessage as error:
            raise ProtocolError(self._peer, self._offset, str(error)) from None

    def _skip(self, count: int) -> None:
        self._start += count
        self._offset += count

    def _take(self, count: int) -> bytes:
        taken = self._staging[self._start : self._start + count].tobytes()
        self._skip(count)
        return taken

    def _move_to_front(self) -> None:
        left = self._end - self._start
        if self._start:
            self._staging[:left] = self._staging[self._start : self._end].tobytes()
            self._start, self._end = 0, left

    # ---- messages

    def _payload_came(self, head: ReplyHead) -> bool:
        """Is there as much of the payload as ``_message`` needs at once?"""
        needed = head.length
        if head.structured and head.type == REPLY_TYPE_OFFSET_DATA:
            if needed <= _DATA_OFFSET_SIZE:
                raise InvalidMessage(f"a data chunk of {needed} bytes")
            needed = _DATA_OFFSET_SIZE
        elif needed > MAX_PAYLOAD:
            raise InvalidMessage(f"a chunk of type {head.type} with {needed} bytes, at most {MAX_PAYLOAD}")
        return self._end - self._start >= needed

    def _message(self, head: ReplyHead) -> PendingRequest | None:
        """Take in what has come; the request, if it has been answered by that."""
        pending = self.pending.get(head.cookie)
        if pending is None:
            raise InvalidMessage(f"a reply to request {head.cookie:#x}, which is not there")
        if head.structured:
            return self._chunk(head, pending)
        self._head = None
        request = pending.request
        if head.error:
            pending.error = errno_of(head.error)
            return pending
        if self._structured and request.type in (CMD_READ, CMD_BLOCK_STATUS):
            raise InvalidMessage("simple reply when structured reply chunk was expected")
        if request.type == CMD_READ:
            self._head = head
            return self._data(pending, request.offset, request.length)
        return pending

    def _chunk(self, head: ReplyHead, pending: PendingRequest) -> PendingRequest | None:
        if not self._structured:
            raise InvalidMessage("a structured reply, which was not negotiated")
        kind, request = head.type, pending.request
        if kind == REPLY_TYPE_OFFSET_DATA and request.type == CMD_READ:
            offset = decode_data_offset(self._take(_DATA_OFFSET_SIZE))
            return self._data(pending, offset, head.length - _DATA_OFFSET_SIZE)
        payload = self._take(head.length)
        self._head = None
        if kind & REPLY_TYPE_FLAG_ERROR:
            error = decode_error(payload, kind)
            if not pending.error:
                pending.error, pending.message = errno_of(error.error), error.message
        elif kind == REPLY_TYPE_NONE:
            if payload or not head.flags & REPLY_FLAG_DONE:
                raise InvalidMessage("an empty chunk that is not empty, or not the last")
        elif kind == REPLY_TYPE_OFFSET_HOLE and request.type == CMD_READ:
            offset, length = decode_hole(payload)
            self._cover(pending, offset, length)
            if pending.buffers is not None:
                pending.buffers.slice(offset - request.offset, length).fill_zero()
        elif kind == REPLY_TYPE_BLOCK_STATUS and request.type == CMD_BLOCK_STATUS:
            self._status(pending, payload)
        else:
            name = COMMAND_NAMES.get(request.type, "<unknown>")
            raise InvalidMessage(f"a chunk of type {kind} in reply to {name}")
        return self._ended(pending) if head.flags & REPLY_FLAG_DONE else None

    def _status(self, pending: PendingRequest, payload: bytes) -> None:
        context, extents = decode_block_status(payload)
        if context != self._context_id:
            raise InvalidMessage(f"status of metadata context {context}, which was not negotiated")
        if pending.extents:
            raise InvalidMessage("several chunks of block status for one metadata context")
        pending.extents = extents

    def _cover(self, pending: PendingRequest, offset: int, length: int) -> None:
        """``length`` bytes from ``offset`` on have come, or will."""
        request = pending.request
        if offset < request.offset or offset + length > request.offset + request.length:
            raise InvalidMessage(
                f"{length} bytes at {offset} in reply to a read of {request.length} at {request.offset}"
            )
        if pending.coverage is None:
            pending.coverage = Coverage()
        try:
            pending.coverage.add(offset, offset + length)
        except ValueError as error:
            raise InvalidMessage(str(error)) from None

    def _data(self, pending: PendingRequest, offset: int, length: int) -> PendingRequest | None:
        """``length`` bytes of data follow: take what is there already."""
        self._cover(pending, offset, length)
        staged = min(length, self._end - self._start)
        self._targets = Buffers()
        if pending.buffers is not None:
            target = pending.buffers.slice(offset - pending.request.offset, length)
            target.write(self._staging[self._start : self._start + staged])
            self._targets = target.split(staged)[1]
        self._skip(staged)
        self._missing = length - staged
        if self._missing:
            # All that was staged belongs to it.
            self._start = self._end = 0
            self._reader = pending
            return None
        return self._data_came(pending)

    def _data_came(self, pending: PendingRequest) -> PendingRequest | None:
        head, self._head, self._reader = self._head, None, None
        assert head is not None
        return self._ended(pending) if head.flags & REPLY_FLAG_DONE else None

    def _ended(self, pending: PendingRequest) -> PendingRequest:
        """The last message of the reply has come: is it whole?"""
        request = pending.request
        if not pending.error:
            came = 0 if pending.coverage is None else pending.coverage.nbytes
            if request.type == CMD_READ and came != request.length:
                raise InvalidMessage(f"{came} bytes in reply to a read of {request.length}")
            if request.type == CMD_BLOCK_STATUS and not pending.extents:
                raise InvalidMessage("Server did not reply with any status extents")
        return pending
