# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of the transmission: requests, simple replies, chunks of structured replies. Spec: proto.md, "Transmission".

Encoders give bytes; what carries data gives its head only, so that the data need not be copied behind it. Decoders
check what a peer has sent and raise InvalidMessage.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Final, NamedTuple

from asyncemu.block.nbd.constants import (
    MAX_STRING_SIZE,
    REPLY_FLAG_DONE,
    REPLY_TYPE_BLOCK_STATUS,
    REPLY_TYPE_ERROR,
    REPLY_TYPE_ERROR_OFFSET,
    REPLY_TYPE_NONE,
    REPLY_TYPE_OFFSET_DATA,
    REPLY_TYPE_OFFSET_HOLE,
    REQUEST_MAGIC,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
)

#: Magic, command flags, type, cookie, offset, length.
REQUEST: Final = Struct(">IHHQQI")
#: Magic, error, cookie.
SIMPLE_REPLY: Final = Struct(">IIQ")
#: Magic, flags, type, cookie, length of the payload.
CHUNK: Final = Struct(">IHHQI")

_MAGIC: Final = Struct(">I")
_OFFSET: Final = Struct(">Q")
_HOLE: Final = Struct(">QI")
_EXTENT: Final = Struct(">II")
_ERROR: Final = Struct(">IH")
_DATA_CHUNK: Final = Struct(">IHHQIQ")
_HOLE_CHUNK: Final = Struct(">IHHQIQI")

#: Bytes of a message, together with those of ERROR_OFFSET behind it.
MAX_ERROR_PAYLOAD: Final = _ERROR.size + MAX_STRING_SIZE + _OFFSET.size


class InvalidMessage(Exception):
    """A message is not what the spec says."""


# ---- requests


class Request(NamedTuple):
    """One request, without the data of a write. In bytes."""

    flags: int
    type: int
    #: What the reply names it by; the spec used to call it handle.
    cookie: int
    offset: int
    length: int

    def encode(self) -> bytes:
        """As it goes over the wire; the data of a write follow."""
        return REQUEST.pack(REQUEST_MAGIC, *self)


def decode_request(buffer: bytes | bytearray | memoryview, start: int = 0) -> Request:
    """The request at ``start``, of which all bytes are there. InvalidMessage when the magic is wrong."""
    magic, flags, kind, cookie, offset, length = REQUEST.unpack_from(buffer, start)
    if magic != REQUEST_MAGIC:
        raise InvalidMessage(f"invalid magic (got {magic:#x})")
    return Request(flags, kind, cookie, offset, length)


# ---- replies


def simple_reply(cookie: int, error: int = 0) -> bytes:
    """A simple reply, or the head of one: the data of a read follow when ``error`` is 0."""
    return SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, error, cookie)


def none_chunk(cookie: int) -> bytes:
    """The last chunk, with nothing to say."""
    return CHUNK.pack(STRUCTURED_REPLY_MAGIC, REPLY_FLAG_DONE, REPLY_TYPE_NONE, cookie, 0)


def data_chunk(cookie: int, offset: int, length: int, flags: int = REPLY_FLAG_DONE) -> bytes:
    """The head of a chunk of data; ``length`` bytes of data follow."""
    kind = REPLY_TYPE_OFFSET_DATA
    return _DATA_CHUNK.pack(STRUCTURED_REPLY_MAGIC, flags, kind, cookie, _OFFSET.size + length, offset)


def hole_chunk(cookie: int, offset: int, length: int, flags: int = REPLY_FLAG_DONE) -> bytes:
    """A chunk for ``length`` bytes that read as zeroes."""
    kind = REPLY_TYPE_OFFSET_HOLE
    return _HOLE_CHUNK.pack(STRUCTURED_REPLY_MAGIC, flags, kind, cookie, _HOLE.size, offset, length)


def block_status_chunk(
    cookie: int, context: int, extents: Iterable[tuple[int, int]], flags: int = REPLY_FLAG_DONE
) -> bytes:
    """A chunk with the status of consecutive extents: (length in bytes, status flags)."""
    payload = _MAGIC.pack(context) + b"".join(_EXTENT.pack(length, status) for length, status in extents)
    return CHUNK.pack(STRUCTURED_REPLY_MAGIC, flags, REPLY_TYPE_BLOCK_STATUS, cookie, len(payload)) + payload


def error_chunk(cookie: int, error: int, message: str = "", offset: int | None = None) -> bytes:
    """The last chunk of a request that failed; at ``offset`` when that is known."""
    text = message.encode("utf-8", "replace")[:MAX_STRING_SIZE]
    payload = _ERROR.pack(error, len(text)) + text
    kind = REPLY_TYPE_ERROR
    if offset is not None:
        kind = REPLY_TYPE_ERROR_OFFSET
        payload += _OFFSET.pack(offset)
    return CHUNK.pack(STRUCTURED_REPLY_MAGIC, REPLY_FLAG_DONE, kind, cookie, len(payload)) + payload


class ReplyHead(NamedTuple):
    """Head of a simple reply (``error``) or of a chunk (the others)."""

    #: Bytes of the head itself.
    size: int
    cookie: int
    structured: bool
    error: int = 0
    flags: int = REPLY_FLAG_DONE
    type: int = REPLY_TYPE_NONE
    #: Bytes of payload that follow a chunk's head.
    length: int = 0


def decode_reply_head(buffer: bytes | bytearray | memoryview, start: int, end: int) -> ReplyHead | None:
    """The head at ``start``; None when it is not all there. InvalidMessage when the magic is wrong."""
    if end - start < SIMPLE_REPLY.size:
        return None
    (magic,) = _MAGIC.unpack_from(buffer, start)
    if magic == SIMPLE_REPLY_MAGIC:
        _, error, cookie = SIMPLE_REPLY.unpack_from(buffer, start)
        return ReplyHead(SIMPLE_REPLY.size, cookie, False, error)
    if magic != STRUCTURED_REPLY_MAGIC:
        raise InvalidMessage(f"invalid magic {magic:#x} of a reply")
    if end - start < CHUNK.size:
        return None
    _, flags, kind, cookie, length = CHUNK.unpack_from(buffer, start)
    return ReplyHead(CHUNK.size, cookie, True, 0, flags, kind, length)


class ErrorPayload(NamedTuple):
    """Payload of an error chunk."""

    error: int
    message: str
    #: Bytes; None: not known.
    offset: int | None = None


def decode_error(payload: bytes, kind: int) -> ErrorPayload:
    """Payload of any chunk with REPLY_TYPE_FLAG_ERROR."""
    if len(payload) < _ERROR.size:
        raise InvalidMessage(f"an error chunk of {len(payload)} bytes")
    error, length = _ERROR.unpack_from(payload)
    if not error:
        raise InvalidMessage("an error chunk without an error")
    end = _ERROR.size + length
    if length > MAX_STRING_SIZE or end > len(payload):
        raise InvalidMessage(f"an error chunk of {len(payload)} bytes with a message of {length}")
    message = payload[_ERROR.size : end].decode("utf-8", "replace")
    if kind != REPLY_TYPE_ERROR_OFFSET:
        return ErrorPayload(error, message)
    if len(payload) != end + _OFFSET.size:
        raise InvalidMessage(f"an error chunk of {len(payload)} bytes with a message of {length} and an offset")
    return ErrorPayload(error, message, _OFFSET.unpack_from(payload, end)[0])


def decode_data_offset(payload: bytes) -> int:
    """Offset at the beginning of a data chunk's payload: its first eight bytes."""
    return int(_OFFSET.unpack(payload)[0])


def decode_hole(payload: bytes) -> tuple[int, int]:
    """Offset and length in bytes of a hole chunk."""
    if len(payload) != _HOLE.size:
        raise InvalidMessage(f"a hole chunk of {len(payload)} bytes")
    offset, length = _HOLE.unpack(payload)
    if not length:
        raise InvalidMessage("an empty hole")
    return offset, length


def decode_block_status(payload: bytes) -> tuple[int, list[tuple[int, int]]]:
    """Metadata context id, and the extents of a block status chunk: (length in bytes, status flags)."""
    if len(payload) < _MAGIC.size + _EXTENT.size or (len(payload) - _MAGIC.size) % _EXTENT.size:
        raise InvalidMessage(f"a block status chunk of {len(payload)} bytes")
    (context,) = _MAGIC.unpack_from(payload)
    extents = list(_EXTENT.iter_unpack(payload[_MAGIC.size :]))
    if not all(length for length, _ in extents):
        raise InvalidMessage("an empty extent")
    return context, extents
