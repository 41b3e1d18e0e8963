# SPDX-License-Identifier: GPL-2.0-or-later
"""DHCP messages: RFC 2131, 2; options: RFC 2132, and RFC 3396 for long ones."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, NamedTuple

from asyncemu.net.packets.errors import Malformed

_HEADER: Final = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
_COOKIE: Final = b"\x63\x82\x53\x63"

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68

#: Values of the op field.
REQUEST: Final = 1
REPLY: Final = 2

#: RFC 2131, 2: the client can't take a unicast yet.
BROADCAST_FLAG: Final = 0x8000

#: Types of messages: RFC 2132, 9.6.
DISCOVER: Final = 1
OFFER: Final = 2
REQUEST_ADDRESS: Final = 3
DECLINE: Final = 4
ACK: Final = 5
NAK: Final = 6
RELEASE: Final = 7
INFORM: Final = 8

#: Options: RFC 2132; 119: RFC 3397.
PAD: Final = 0
SUBNET_MASK: Final = 1
ROUTER: Final = 3
DNS_SERVERS: Final = 6
HOST_NAME: Final = 12
DOMAIN_NAME: Final = 15
INTERFACE_MTU: Final = 26
REQUESTED_ADDRESS: Final = 50
LEASE_TIME: Final = 51
OVERLOAD: Final = 52
MESSAGE_TYPE: Final = 53
SERVER_IDENTIFIER: Final = 54
MESSAGE: Final = 56
MAX_MESSAGE_SIZE: Final = 57
CLIENT_IDENTIFIER: Final = 61
TFTP_SERVER_NAME: Final = 66
BOOT_FILE: Final = 67
DOMAIN_SEARCH: Final = 119
END: Final = 255

#: Bytes of a message that everybody sends and takes: RFC 951, 3 and RFC 2131, 2 (576 with the headers of IP and UDP).
_MIN_LENGTH: Final = 300
MAX_LENGTH: Final = 548

#: The options fit into one datagram, so this is a bound already; RFC 2132 knows about 80.
_MAX_OPTION: Final = 255


class Message(NamedTuple):
    """Of Ethernet hosts. ``options`` without PAD and END; an option that is there several times is one: RFC 3396, 7."""

    op: int
    transaction: int
    mac: bytes
    options: Mapping[int, bytes]
    seconds: int = 0
    flags: int = 0
    #: ciaddr, yiaddr, siaddr, giaddr.
    client: bytes = bytes(4)
    your: bytes = bytes(4)
    server: bytes = bytes(4)
    relay: bytes = bytes(4)
    #: Text without the zero bytes behind it; empty where options were put in its place.
    server_name: bytes = b""
    file: bytes = b""

    @property
    def type(self) -> int:
        """0: there is none, as in BOOTP."""
        value = self.options.get(MESSAGE_TYPE, b"")
        return value[0] if len(value) == 1 else 0

    def address(self, option: int) -> bytes | None:
        """The address that ``option`` has; None: it is not there, or is not one."""
        value = self.options.get(option)
        return value if value is not None and len(value) == 4 else None

    def pack(self, max_length: int = MAX_LENGTH) -> bytes:
        """As the payload of a datagram, of ``max_length`` bytes at most: the last options that don't fit are left out.

        struct.error when a field is longer than it may be.
        """
        header = _HEADER.pack(
            self.op,
            1,
            6,
            0,
            self.transaction,
            self.seconds,
            self.flags,
            self.client,
            self.your,
            self.server,
            self.relay,
            self.mac,
            self.server_name,
            self.file,
            _COOKIE,
        )
        packed = bytearray(header)
        for code, value in self.options.items():
            option = _pack_option(code, value)
            if len(packed) + len(option) < max_length:
                packed += option
        packed.append(END)
        return bytes(packed.ljust(_MIN_LENGTH, b"\0"))


def parse(data: bytes) -> Message:
    """The message that a datagram carries. Raises Malformed, also for what is not of an Ethernet host."""
    if len(data) < _HEADER.size:
        raise Malformed("DHCP message is cut")
    (
        op,
        hardware,
        length,
        _,
        transaction,
        seconds,
        flags,
        client,
        your,
        server,
        relay,
        mac,
        server_name,
        file,
        cookie,
    ) = _HEADER.unpack_from(data)
    if (hardware, length) != (1, 6):
        raise Malformed("DHCP message is not of an Ethernet host")
    if cookie != _COOKIE:
        raise Malformed("DHCP message without its cookie")
    options: dict[int, bytes] = {}
    _parse_options(data[_HEADER.size :], options)
    overload = options.get(OVERLOAD, b"\0")[:1]
    # RFC 2131, 4.1: the file field first, then the server's name; bits 0 and 1 of the option's value.
    if overload in (b"\1", b"\3"):
        _parse_options(file, options)
        file = b""
    if overload in (b"\2", b"\3"):
        _parse_options(server_name, options)
        server_name = b""
    return Message(
        op,
        transaction,
        mac[:6],
        options,
        seconds,
        flags,
        client,
        your,
        server,
        relay,
        server_name.split(b"\0", 1)[0],
        file.split(b"\0", 1)[0],
    )


def _parse_options(data: bytes, options: dict[int, bytes]) -> None:
    """RFC 2132, 2. The end of the field ends them, too: old clients leave END out."""
    position = 0
    while position < len(data):
        code = data[position]
        position += 1
        if code == PAD:
            continue
        if code == END:
            return
        if position >= len(data) or position + 1 + data[position] > len(data):
            raise Malformed("DHCP option reaches past the end")
        following = position + 1 + data[position]
        options[code] = options.get(code, b"") + data[position + 1 : following]
        position = following


def _pack_option(code: int, value: bytes) -> bytes:
    """RFC 3396, 5: more than 255 bytes are several options one behind the other."""
    parts = [value[at : at + _MAX_OPTION] for at in range(0, len(value), _MAX_OPTION)] or [b""]
    return b"".join(bytes((code, len(part))) + part for part in parts)
