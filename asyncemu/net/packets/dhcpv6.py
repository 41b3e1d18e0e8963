# SPDX-License-Identifier: GPL-2.0-or-later
"""DHCPv6 messages between client and server: RFC 8415, 8 and 21."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple

from asyncemu.net.packets.errors import Malformed

_OPTION: Final = struct.Struct("!HH")

CLIENT_PORT: Final = 546
SERVER_PORT: Final = 547

#: RFC 8415, 7.1: All_DHCP_Relay_Agents_and_Servers.
SERVERS: Final = bytes.fromhex("ff020000000000000000000000010002")

#: Types of messages: RFC 8415, 7.3.
REPLY: Final = 7
INFORMATION_REQUEST: Final = 11

#: Options: RFC 8415, 21; RFC 3646 (23, 24); RFC 5970, 3.1 (59).
CLIENT_IDENTIFIER: Final = 1
SERVER_IDENTIFIER: Final = 2
IDENTITY_ASSOCIATION: Final = 3
TEMPORARY_ASSOCIATION: Final = 4
OPTION_REQUEST: Final = 6
DNS_SERVERS: Final = 23
DOMAIN_SEARCH: Final = 24
PREFIX_ASSOCIATION: Final = 25
BOOT_FILE_URL: Final = 59

#: Bytes: RFC 8415, 11.1.
MAX_IDENTIFIER: Final = 130


class Message(NamedTuple):
    """Of an option that is there several times the first one counts: RFC 8415, 21.1 has none of ours twice."""

    type: int
    transaction: bytes
    options: dict[int, bytes]

    @property
    def requested(self) -> frozenset[int]:
        """The codes that the client asks for: RFC 8415, 21.7."""
        value = self.options.get(OPTION_REQUEST, b"")
        return frozenset(code for (code,) in struct.iter_unpack("!H", value[: len(value) & ~1]))

    def pack(self) -> bytes:
        """As the payload of a datagram."""
        options = (_OPTION.pack(code, len(value)) + value for code, value in self.options.items())
        return bytes((self.type,)) + self.transaction + b"".join(options)


def parse(data: bytes) -> Message:
    """The message that a datagram carries. Raises Malformed."""
    if len(data) < 4:
        raise Malformed("DHCPv6 message is cut")
    options: dict[int, bytes] = {}
    position = 4
    while position < len(data):
        if position + _OPTION.size > len(data):
            raise Malformed("DHCPv6 option is cut")
        code, length = _OPTION.unpack_from(data, position)
        position += _OPTION.size
        if position + length > len(data):
            raise Malformed("DHCPv6 option reaches past the end")
        options.setdefault(code, data[position : position + length])
        position += length
    return Message(data[0], data[1:4], options)
