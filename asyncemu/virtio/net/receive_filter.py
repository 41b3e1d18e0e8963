# SPDX-License-Identifier: GPL-2.0-or-later
"""ReceiveFilter: which frames the guest wants (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3).

A value: the control queue makes a new one, and the queue pairs, which may live in other threads, use whichever is the
newest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

from asyncemu.net.frame import ETHERNET_HEADER
from asyncemu.net.mac import format_mac
from asyncemu.net.rx_filter_info import RxFilterInfo, RxState

#: Addresses of both tables together; with more in one of them, all of its kind are let in. QEMU: MAC_TABLE_ENTRIES.
MAX_ADDRESSES: Final = 64
MAX_VLAN: Final = 4096

#: Bytes of a frame that decide: two addresses, and the tag.
HEAD: Final = 16

_TAG: Final = b"\x81\x00"
_BROADCAST: Final = b"\xff" * 6


@dataclass(frozen=True, slots=True)
class ReceiveFilter:
    """What a card lets in before its driver has said anything: all (promiscuous), as in QEMU."""

    mac: bytes
    promiscuous: bool = True
    all_multicast: bool = False
    all_unicast: bool = False
    no_multicast: bool = False
    no_unicast: bool = False
    no_broadcast: bool = False
    unicast: frozenset[bytes] = frozenset()
    multicast: frozenset[bytes] = frozenset()
    #: A table had more than MAX_ADDRESSES.
    unicast_overflow: bool = False
    multicast_overflow: bool = False
    #: Bit n: VLAN n is let in; None: all are.
    vlans: int | None = None

    def accepts(self, head: bytes) -> bool:
        """Is a frame that begins with ``head`` (HEAD bytes, or all that it has) let in?"""
        if self.promiscuous:
            return True
        if len(head) < ETHERNET_HEADER:
            return False
        if self.vlans is not None and head[12:14] == _TAG:
            vlan = int.from_bytes(head[14:16], "big") & (MAX_VLAN - 1)
            if not self.vlans >> vlan & 1:
                return False
        destination = head[:6]
        if not destination[0] & 1:
            if destination == self.mac:
                return not self.no_unicast
            if self.no_unicast:
                return False
            return self.all_unicast or self.unicast_overflow or destination in self.unicast
        if destination == _BROADCAST:
            return not self.no_broadcast
        if self.no_multicast:
            return False
        return self.all_multicast or self.multicast_overflow or destination in self.multicast

    def info(self, name: str) -> RxFilterInfo:
        """The same for people, of the card ``name``. QEMU: virtio_net_query_rxfilter."""
        vlans = -1 if self.vlans is None else self.vlans
        return RxFilterInfo(
            name=name,
            promiscuous=self.promiscuous,
            multicast=_state(self.no_multicast, self.all_multicast),
            unicast=_state(self.no_unicast, self.all_unicast),
            vlan=_state(not vlans, self.vlans is None),
            broadcast_allowed=not self.no_broadcast,
            multicast_overflow=self.multicast_overflow,
            unicast_overflow=self.unicast_overflow,
            main_mac=format_mac(self.mac),
            # From the last one down, as QEMU lists them.
            vlan_table=[vlan for vlan in reversed(range(MAX_VLAN)) if vlans >> vlan & 1],
            unicast_table=[format_mac(each) for each in sorted(self.unicast)],
            multicast_table=[format_mac(each) for each in sorted(self.multicast)],
        )

    def with_mode(self, field: str, on: bool) -> ReceiveFilter:
        """The same with one of the modes turned on or off: 5.1.6.5.1."""
        change: dict[str, Any] = {field: on}
        return replace(self, **change)

    def with_tables(self, unicast: list[bytes], multicast: list[bytes]) -> ReceiveFilter:
        """The same with these tables: 5.1.6.5.2."""
        unicast_overflow = len(unicast) > MAX_ADDRESSES
        kept = [] if unicast_overflow else unicast
        multicast_overflow = len(kept) + len(multicast) > MAX_ADDRESSES
        return replace(
            self,
            unicast=frozenset(kept),
            multicast=frozenset([] if multicast_overflow else multicast),
            unicast_overflow=unicast_overflow,
            multicast_overflow=multicast_overflow,
        )

    def with_vlan(self, vlan: int, wanted: bool) -> ReceiveFilter:
        """The same with or without one VLAN: 5.1.6.5.3."""
        vlans = self.vlans or 0
        return replace(self, vlans=vlans | 1 << vlan if wanted else vlans & ~(1 << vlan))


def _state(none: bool, all: bool) -> RxState:
    return "none" if none else "all" if all else "normal"
