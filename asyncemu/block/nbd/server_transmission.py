# SPDX-License-Identifier: GPL-2.0-or-later
"""RequestParser: a server's side of the transmission, without I/O: requests out of the stream, checked.

    view = parser.buffer()                  where the next bytes go: often a write's own buffer
    parser.received(sock.recv_into(view))
    while (incoming := parser.next()) is not None:
        ...                                 a request with its data, or with the reason why it is refused

Spec: proto.md, "Request message", "Request types", "Error values". The checks, their order and their messages are those
of QEMU 7.2; the error values are the spec's, where QEMU says EINVAL to everything that it refuses here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from asyncemu.block.nbd.constants import (
    CMD_BLOCK_STATUS,
    CMD_CACHE,
    CMD_DISC,
    CMD_FLAG_DF,
    CMD_FLAG_FAST_ZERO,
    CMD_FLAG_FUA,
    CMD_FLAG_NO_HOLE,
    CMD_FLAG_REQ_ONE,
    CMD_READ,
    CMD_TRIM,
    CMD_WRITE,
    CMD_WRITE_ZEROES,
    COMMAND_NAMES,
    MAX_BUFFER_SIZE,
)
from asyncemu.block.nbd.error_values import EINVAL, ENOSPC, EPERM
from asyncemu.block.nbd.messages import REQUEST, InvalidMessage, Request, decode_request
from asyncemu.errors import ProtocolError

#: Bytes received at once while it is not known where they belong: a write of 4 KiB comes in one system call, and not
#: much of a longer one is copied.
STAGING_SIZE: Final = 8 << 10
#: Bytes thrown away at once.
_DISCARD_SIZE: Final = 64 << 10

_discarded: Final = memoryview(bytearray(_DISCARD_SIZE))


class Terms(NamedTuple):
    """What a session's requests are checked against."""

    #: Bytes.
    size: int
    read_only: bool
    structured_replies: bool
    #: May BLOCK_STATUS be asked?
    has_contexts: bool


class Refusal(NamedTuple):
    """Why a request is refused: an error value of the protocol, and words."""

    error: int
    message: str
    #: The client is to be hung up on: its data can't be taken in.
    fatal: bool = False


class Incoming(NamedTuple):
    """A request that is all there."""

    request: Request
    #: Data of a write.
    data: memoryview | None = None
    refusal: Refusal | None = None


def check_request(request: Request, terms: Terms) -> Refusal | None:
    """Why ``request`` is refused, or None. DISC is never."""
    flags, kind, _, offset, length = request
    if kind == CMD_DISC:
        return None
    if length > MAX_BUFFER_SIZE and kind in (CMD_READ, CMD_WRITE, CMD_CACHE):
        problem = f"len ({length} ) is larger than max len ({MAX_BUFFER_SIZE})"
        return Refusal(EINVAL, problem, fatal=kind == CMD_WRITE)
    if terms.read_only and kind in (CMD_WRITE, CMD_WRITE_ZEROES, CMD_TRIM):
        return Refusal(EPERM, "Export is read-only")
    if offset + length > terms.size:
        problem = f"operation past EOF; From: {offset}, Len: {length}, Size: {terms.size}"
        return Refusal(ENOSPC if kind in (CMD_WRITE, CMD_WRITE_ZEROES) else EINVAL, problem)
    if flags & ~_valid_flags(kind, terms):
        name = COMMAND_NAMES.get(kind, "<unknown>")
        return Refusal(EINVAL, f"unsupported flags for command {name} (got {flags:#x})")
    if kind not in COMMAND_NAMES:
        return Refusal(EINVAL, f"invalid request type ({kind}) received")
    if kind == CMD_BLOCK_STATUS:
        if not length:
            return Refusal(EINVAL, "need non-zero length")
        if not terms.has_contexts:
            return Refusal(EINVAL, "CMD_BLOCK_STATUS not negotiated")
    return None


def _valid_flags(kind: int, terms: Terms) -> int:
    # FUA goes with everything (proto.md, "Command flags").
    if kind == CMD_READ and terms.structured_replies:
        return CMD_FLAG_FUA | CMD_FLAG_DF
    if kind == CMD_WRITE_ZEROES:
        return CMD_FLAG_FUA | CMD_FLAG_NO_HOLE | CMD_FLAG_FAST_ZERO
    if kind == CMD_BLOCK_STATUS:
        return CMD_FLAG_FUA | CMD_FLAG_REQ_ONE
    return CMD_FLAG_FUA


class RequestParser:
    """One client's stream of requests.

    ``allocate`` gives memory for the data of one write, which is the receiver's from then on. ``rest`` is what had been
    received behind the handshake.
    """

    def __init__(
        self, terms: Terms, allocate: Callable[[int], memoryview], *, rest: bytes = b"", peer: str = "client"
    ) -> None:
        self.terms = terms
        self._size = terms.size
        self._allocate = allocate
        self._peer = peer
        # Room for what the handshake has left behind, which may be more than we ever receive at once.
        self._staging = memoryview(bytearray(max(STAGING_SIZE, len(rest))))
        self._staging[: len(rest)] = rest
        #: What is staged and not taken yet, from and to.
        self._start = 0
        self._end = len(rest)
        #: Bytes of the stream before ``_start``.
        self._offset = 0
        #: The request whose data are on their way.
        self._incomplete: Incoming | None = None
        #: Where the rest of its data goes; None: it is thrown away.
        self._data: memoryview | None = None
        self._missing = 0

    @property
    def midway(self) -> bool:
        """Has something begun that is not all there, or is there something that ``next`` has not given yet?"""
        return self._start != self._end or self._incomplete is not None

    def buffer(self) -> memoryview:
        """Where the next bytes of the stream go; never empty once ``next`` has given None."""
        if self._incomplete is None:
            return self._staging[self._end :]
        if self._data is not None:
            return self._data
        return _discarded[: self._missing]

    def received(self, count: int) -> None:
        """So many bytes have been put there."""
        if self._incomplete is None:
            self._end += count
            return
        self._missing -= count
        self._offset += count
        if self._data is not None:
            self._data = self._data[count:]

    def next(self) -> Incoming | None:
        """The next request that is all there; None: receive more first. ProtocolError: hang up."""
        incomplete = self._incomplete
        if incomplete is not None:
            if self._missing:
                return None
            self._incomplete = self._data = None
            return incomplete
        start, end = self._start, self._end
        if end - start < REQUEST.size:
            if start:
                self._move_to_front()
            return None
        try:
            request = decode_request(self._staging, start)
        except InvalidMessage as error:
            raise ProtocolError(self._peer, self._offset, str(error)) from None
        start += REQUEST.size
        self._offset += REQUEST.size
        flags, kind, _, offset, length = request
        if not flags and kind == CMD_READ and length <= MAX_BUFFER_SIZE and offset + length <= self._size:
            refusal = None  # what ``check_request`` finds, too: nothing is asked for as often
        else:
            refusal = check_request(request, self.terms)
        if kind != CMD_WRITE or (refusal is not None and refusal.fatal):
            if start == end:
                self._start = self._end = 0
            else:
                self._start = start
            return Incoming(request, None, refusal)
        return self._write(request, refusal, start)

    def _write(self, request: Request, refusal: Refusal | None, start: int) -> Incoming | None:
        """Take what there is of the data."""
        data = None
        length = request.length
        staged = min(length, self._end - start)
        if refusal is None:
            data = self._allocate(length)
            data[:staged] = self._staging[start : start + staged]
        self._start = start + staged
        self._offset += staged
        incoming = Incoming(request, data, refusal)
        if staged == length:
            if self._start == self._end:
                self._start = self._end = 0
            return incoming
        # All that was staged belongs to it.
        self._start = self._end = 0
        self._incomplete = incoming
        self._data = None if data is None else data[staged:]
        self._missing = length - staged
        return None

    def _move_to_front(self) -> None:
        """Room for the rest of a request, of which the beginning is there."""
        left = self._end - self._start
        self._staging[:left] = self._staging[self._start : self._end].tobytes()
        self._start, self._end = 0, left
