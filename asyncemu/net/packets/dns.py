# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS messages, as far as a proxy looks into them: the header and the one question. RFC 1035, 4.1."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from asyncemu.net.packets import dns_names
from asyncemu.net.packets.errors import Malformed

_HEADER: Final = struct.Struct("!6H")
_QUESTION: Final = struct.Struct("!HH")
_RECORD: Final = struct.Struct("!HHIH")

#: Bytes.
HEADER_LENGTH: Final = 12

PORT: Final = 53

#: Flags: RFC 1035, 4.1.1.
RESPONSE: Final = 0x8000
AUTHORITATIVE: Final = 0x0400
RECURSION_DESIRED: Final = 0x0100
RECURSION_AVAILABLE: Final = 0x0080
OPCODE: Final = 0x7800

#: Response codes.
NO_ERROR: Final = 0
FORMAT_ERROR: Final = 1
SERVER_FAILURE: Final = 2

#: Types of records: RFC 1035, 3.2.2; RFC 3596, 2.1; RFC 6891, 6.1.
A: Final = 1
PTR: Final = 12
AAAA: Final = 28
OPT: Final = 41
ANY_TYPE: Final = 255

INTERNET: Final = 1

# RFC 6891, 6.1.2: the root's OPT record; we take 1232 bytes, a packet of IPv6's least MTU.
_EDNS: Final = b"\0" + _RECORD.pack(OPT, 1232, 0, 0)


class Message(NamedTuple):
    """``end``: where the question ends in what was parsed."""

    identification: int
    flags: int
    #: As text, in the case that it was asked in.
    name: str
    type: int
    class_: int
    end: int
    #: Records in the additional section.
    additional: int

    @property
    def is_response(self) -> bool:
        """Or a query?"""
        return self.flags & RESPONSE != 0


def parse(data: bytes) -> Message:
    """A message with one question. Raises Malformed."""
    if len(data) < HEADER_LENGTH:
        raise Malformed("DNS header is cut")
    identification, flags, questions, _, _, additional = _HEADER.unpack_from(data)
    if questions != 1:
        raise Malformed("DNS message has not one question")
    name, position = dns_names.parse(data, HEADER_LENGTH, compressed=False)
    if position + _QUESTION.size > len(data):
        raise Malformed("DNS question is cut")
    type, class_ = _QUESTION.unpack_from(data, position)
    return Message(identification, flags, name, type, class_, position + _QUESTION.size, additional)


def has_edns(query: Message, data: bytes) -> bool:
    """Does the query in ``data`` say what it can take? RFC 6891, 6.1.1; looked for where all resolvers put it."""
    return query.additional > 0 and data[query.end : query.end + 3] == _EDNS[:3]


def with_identification(data: bytes, identification: int) -> bytes:
    """The same message with another number."""
    return identification.to_bytes(2, "big") + data[2:]


def answer(query: Message, data: bytes, records: Sequence[bytes], time_to_live: int) -> bytes:
    """A response to the query in ``data``, of data of records of its type; without any: there are none of that type."""
    edns = has_edns(query, data)
    flags = RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | query.flags & RECURSION_DESIRED
    parts = [
        _HEADER.pack(query.identification, flags, 1, len(records), 0, int(edns)),
        data[HEADER_LENGTH : query.end],
    ]
    for record in records:
        # RFC 1035, 4.1.4: the name is the question's.
        parts.append(b"\xc0\x0c" + _RECORD.pack(query.type, INTERNET, time_to_live, len(record)) + record)
    return b"".join(parts) + (_EDNS if edns else b"")


def failure(data: bytes, code: int) -> bytes:
    """A response without records to the query in ``data``, which has a header at least."""
    identification, flags, *_ = _HEADER.unpack_from(data)
    flags = RESPONSE | RECURSION_AVAILABLE | flags & (RECURSION_DESIRED | OPCODE) | code
    try:
        question = data[HEADER_LENGTH : parse(data).end]
    except Malformed:
        question = b""
    return _HEADER.pack(identification, flags, bool(question), 0, 0, 0) + question
