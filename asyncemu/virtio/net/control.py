# SPDX-License-Identifier: GPL-2.0-or-later
"""The control queue: what the driver asks for, as values (virtio 1.2, 5.1.6.5). No device, no I/O.

``parse_command`` checks lengths and numbers; whether a command goes with the features is for ``is_negotiated`` to say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeAlias

from asyncemu.net.packets.errors import Malformed
from asyncemu.virtio.net import features

OK: Final = b"\0"
ERROR: Final = b"\1"

#: Bytes of a command that are looked at: two address tables are the longest, and one that is longer than any driver's
#: is refused unread.
MAX_COMMAND: Final = 64 * 1024

# Classes and their commands: 5.1.6.5.1 to 5.1.6.5.6.
RX: Final = 0
RX_PROMISCUOUS: Final = 0
RX_ALL_MULTICAST: Final = 1
RX_ALL_UNICAST: Final = 2
RX_NO_MULTICAST: Final = 3
RX_NO_UNICAST: Final = 4
RX_NO_BROADCAST: Final = 5
MAC: Final = 1
MAC_TABLE_SET: Final = 0
MAC_ADDR_SET: Final = 1
VLAN: Final = 2
VLAN_ADD: Final = 0
VLAN_DELETE: Final = 1
ANNOUNCE: Final = 3
ANNOUNCE_ACK: Final = 0
MQ: Final = 4
MQ_PAIRS_SET: Final = 0
GUEST_OFFLOADS: Final = 5
GUEST_OFFLOADS_SET: Final = 0

_MODES: Final = {
    RX_PROMISCUOUS: "promiscuous",
    RX_ALL_MULTICAST: "all_multicast",
    RX_ALL_UNICAST: "all_unicast",
    RX_NO_MULTICAST: "no_multicast",
    RX_NO_UNICAST: "no_unicast",
    RX_NO_BROADCAST: "no_broadcast",
}

_count: Final = struct.Struct("<I")
_number: Final = struct.Struct("<H")
_offloads: Final = struct.Struct("<Q")

ADDRESS_LENGTH: Final = 6
MAX_VLAN: Final = 4096


class ReceiveMode(NamedTuple):
    """Turn a field of ReceiveFilter on or off."""

    field: str
    on: bool


class AddressTables(NamedTuple):
    """The addresses that are let in besides the card's own."""

    unicast: list[bytes]
    multicast: list[bytes]


class SetAddress(NamedTuple):
    """The card's own address."""

    address: bytes


class SetVlan(NamedTuple):
    """Let a VLAN in, or not any more."""

    vlan: int
    wanted: bool


class AnnounceDone(NamedTuple):
    """The guest has told the network where it is."""


class SetPairs(NamedTuple):
    """How many queue pairs the driver uses."""

    pairs: int


class SetOffloads(NamedTuple):
    """What the driver takes unfinished from now on: GUEST_* bits."""

    offloads: int


Command: TypeAlias = ReceiveMode | AddressTables | SetAddress | SetVlan | AnnounceDone | SetPairs | SetOffloads


def parse_command(kind: int, command: int, data: bytes) -> Command:
    """The value of ``data`` behind the two bytes that say what it is. Raises Malformed."""
    parse = _PARSERS.get((kind, command))
    if parse is None:
        raise Malformed(f"command {command} of class {kind}")
    return parse(data)


def is_negotiated(command: Command, negotiated: int) -> bool:
    """Has the driver accepted the feature that a command belongs to?"""
    match command:
        case ReceiveMode(field):
            basic = field in ("promiscuous", "all_multicast")
            needed = features.CTRL_RX if basic else features.CTRL_RX_EXTRA
        case AddressTables():
            needed = features.CTRL_RX
        case SetAddress():
            needed = features.CTRL_MAC_ADDR
        case SetVlan():
            needed = features.CTRL_VLAN
        case AnnounceDone():
            needed = features.GUEST_ANNOUNCE
        case SetPairs():
            needed = features.MQ
        case SetOffloads():
            needed = features.CTRL_GUEST_OFFLOADS
    return bool(negotiated & needed)


def _at_least(data: bytes, length: int) -> bytes:
    """The first ``length`` bytes; QEMU, too, lets more follow."""
    if len(data) < length:
        raise Malformed(f"a command of {len(data)} bytes")
    return data[:length]


def _table(data: bytes) -> tuple[list[bytes], bytes]:
    """A table at the start of ``data`` (5.1.6.5.2), and what follows it."""
    (count,) = _count.unpack(_at_least(data, _count.size))
    end = _count.size + count * ADDRESS_LENGTH
    if end > len(data):
        raise Malformed(f"a table of {count} addresses in {len(data)} bytes")
    starts = range(_count.size, end, ADDRESS_LENGTH)
    return [data[start : start + ADDRESS_LENGTH] for start in starts], data[end:]


def _tables(data: bytes) -> AddressTables:
    unicast, rest = _table(data)
    multicast, rest = _table(rest)
    if rest:
        raise Malformed("bytes behind the address tables")
    return AddressTables(unicast, multicast)


def _address(data: bytes) -> SetAddress:
    if len(data) != ADDRESS_LENGTH:
        raise Malformed(f"an address of {len(data)} bytes")
    return SetAddress(data)


def _vlan(data: bytes, wanted: bool) -> SetVlan:
    (vlan,) = _number.unpack(_at_least(data, _number.size))
    if vlan >= MAX_VLAN:
        raise Malformed(f"VLAN {vlan}")
    return SetVlan(vlan, wanted)


def _mode(field: str, data: bytes) -> ReceiveMode:
    return ReceiveMode(field, bool(_at_least(data, 1)[0]))


_PARSERS: Final[dict[tuple[int, int], Callable[[bytes], Command]]] = {
    **{(RX, command): partial(_mode, field) for command, field in _MODES.items()},
    (MAC, MAC_TABLE_SET): _tables,
    (MAC, MAC_ADDR_SET): _address,
    (VLAN, VLAN_ADD): partial(_vlan, wanted=True),
    (VLAN, VLAN_DELETE): partial(_vlan, wanted=False),
    (ANNOUNCE, ANNOUNCE_ACK): lambda data: AnnounceDone(),
    (MQ, MQ_PAIRS_SET): lambda data: SetPairs(*_number.unpack(_at_least(data, _number.size))),
    (GUEST_OFFLOADS, GUEST_OFFLOADS_SET): lambda data: SetOffloads(*_offloads.unpack(_at_least(data, _offloads.size))),
}
