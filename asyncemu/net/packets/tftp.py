# SPDX-License-Identifier: GPL-2.0-or-later
"""TFTP packets: RFC 1350, 5; options: RFC 2347."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from asyncemu.net.packets.errors import Malformed

PORT: Final = 69

#: Opcodes.
READ: Final = 1
WRITE: Final = 2
DATA: Final = 3
ACKNOWLEDGMENT: Final = 4
ERROR: Final = 5
OPTIONS: Final = 6

#: Error codes: RFC 1350, 5; RFC 2347, Error Codes.
NOT_DEFINED: Final = 0
NOT_FOUND: Final = 1
ACCESS_VIOLATION: Final = 2
ILLEGAL_OPERATION: Final = 4
UNKNOWN_TRANSFER: Final = 5
OPTIONS_REFUSED: Final = 8

#: Bytes of a data packet when nothing else is said, and of the longest one: RFC 1350, 2; RFC 2348.
BLOCK_SIZE: Final = 512
MIN_BLOCK_SIZE: Final = 8
MAX_BLOCK_SIZE: Final = 65464

#: RFC 2347: a request with all its options is not longer, in bytes.
_MAX_REQUEST: Final = 512


class Request(NamedTuple):
    """To read a file, or to write one. ``mode`` and the options' names are in lower case."""

    is_write: bool
    name: str
    mode: str
    options: Mapping[str, str]

    def pack(self) -> bytes:
        """As the payload of a datagram."""
        fields = [self.name, self.mode, *(text for option in self.options.items() for text in option)]
        return (WRITE if self.is_write else READ).to_bytes(2, "big") + b"".join(
            field.encode("utf-8", "surrogateescape") + b"\0" for field in fields
        )


class Acknowledgment(NamedTuple):
    """Of the block with that number; of options: 0."""

    block: int


class Error(NamedTuple):
    """The end of a transfer."""

    code: int
    message: str


def parse(data: bytes) -> Request | Acknowledgment | Error:
    """What a client that reads may send. Raises Malformed."""
    if len(data) < 4:
        raise Malformed("TFTP packet is cut")
    operation = int.from_bytes(data[:2], "big")
    if operation == ACKNOWLEDGMENT:
        return Acknowledgment(int.from_bytes(data[2:4], "big"))
    if operation == ERROR:
        return Error(int.from_bytes(data[2:4], "big"), data[4:].split(b"\0", 1)[0].decode("utf-8", "replace"))
    if operation in (READ, WRITE):
        return _parse_request(data)
    raise Malformed("TFTP packet that no reader sends")


def _parse_request(data: bytes) -> Request:
    if len(data) > _MAX_REQUEST:
        raise Malformed("TFTP request is too long")
    fields = data[2:].split(b"\0")
    # What ends with a zero byte has an empty field behind it.
    if len(fields) < 3 or fields.pop():
        raise Malformed("TFTP request is cut")
    name, mode, *options = (field.decode("utf-8", "surrogateescape") for field in fields)
    # An option without a value at the end is left out: some clients pad their requests with zeros.
    pairs = {key.lower(): value for key, value in zip(options[::2], options[1::2], strict=False) if key}
    return Request(data[1] == WRITE, name, mode.lower(), pairs)


def pack_data(block: int, data: bytes) -> bytes:
    """A block of a file; one that is shorter than the others ends it."""
    return DATA.to_bytes(2, "big") + block.to_bytes(2, "big") + data


def pack_options(options: Mapping[str, str]) -> bytes:
    """What a server agrees to: RFC 2347."""
    fields = (text.encode("ascii") + b"\0" for option in options.items() for text in option)
    return OPTIONS.to_bytes(2, "big") + b"".join(fields)


def pack_acknowledgment(block: int) -> bytes:
    """What a reader answers a block with."""
    return ACKNOWLEDGMENT.to_bytes(2, "big") + block.to_bytes(2, "big")


def pack_error(code: int, message: str) -> bytes:
    """The end of a transfer, with a message for people."""
    return ERROR.to_bytes(2, "big") + code.to_bytes(2, "big") + message.encode("utf-8", "replace") + b"\0"
