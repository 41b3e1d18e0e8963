# SPDX-License-Identifier: GPL-2.0-or-later
"""Feature bits of virtio-net: virtio 1.2, 5.1.3."""

from __future__ import annotations

from typing import Final

from asyncemu.virtio.net.options import NetOptions

CSUM: Final = 1 << 0
GUEST_CSUM: Final = 1 << 1
CTRL_GUEST_OFFLOADS: Final = 1 << 2
MTU: Final = 1 << 3
MAC: Final = 1 << 5
GUEST_TSO4: Final = 1 << 7
GUEST_TSO6: Final = 1 << 8
GUEST_ECN: Final = 1 << 9
GUEST_UFO: Final = 1 << 10
HOST_TSO4: Final = 1 << 11
HOST_TSO6: Final = 1 << 12
HOST_ECN: Final = 1 << 13
HOST_UFO: Final = 1 << 14
MRG_RXBUF: Final = 1 << 15
STATUS: Final = 1 << 16
CTRL_VQ: Final = 1 << 17
CTRL_RX: Final = 1 << 18
CTRL_VLAN: Final = 1 << 19
CTRL_RX_EXTRA: Final = 1 << 20
GUEST_ANNOUNCE: Final = 1 << 21
MQ: Final = 1 << 22
CTRL_MAC_ADDR: Final = 1 << 23
SPEED_DUPLEX: Final = 1 << 63

#: What the guest may take unfinished; the same bits are those of GUEST_OFFLOADS_SET (5.1.6.5.6.1).
GUEST_OFFLOADS: Final = GUEST_CSUM | GUEST_TSO4 | GUEST_TSO6 | GUEST_ECN | GUEST_UFO

#: What needs the peer to take and give unfinished frames.
_NEEDS_VNET_HEADER: Final = CSUM | HOST_TSO4 | HOST_TSO6 | HOST_ECN | HOST_UFO | GUEST_OFFLOADS | CTRL_GUEST_OFFLOADS

#: 5.1.3.1: a bit, and those of which it needs one.
_NEEDS: Final = (
    (GUEST_TSO4 | GUEST_TSO6 | GUEST_UFO, GUEST_CSUM),
    (GUEST_ECN, GUEST_TSO4 | GUEST_TSO6),
    (HOST_TSO4 | HOST_TSO6 | HOST_UFO, CSUM),
    (HOST_ECN, HOST_TSO4 | HOST_TSO6),
    (CTRL_RX | CTRL_VLAN | GUEST_ANNOUNCE | MQ | CTRL_MAC_ADDR | CTRL_GUEST_OFFLOADS, CTRL_VQ),
    (CTRL_RX_EXTRA, CTRL_RX),
    (GUEST_ANNOUNCE, STATUS),
    (CTRL_GUEST_OFFLOADS, GUEST_CSUM),
)

_BY_OPTION: Final = {
    "csum": CSUM,
    "guest_csum": GUEST_CSUM,
    "ctrl_guest_offloads": CTRL_GUEST_OFFLOADS,
    "guest_tso4": GUEST_TSO4,
    "guest_tso6": GUEST_TSO6,
    "guest_ecn": GUEST_ECN,
    "guest_ufo": GUEST_UFO,
    "host_tso4": HOST_TSO4,
    "host_tso6": HOST_TSO6,
    "host_ecn": HOST_ECN,
    "host_ufo": HOST_UFO,
    "mrg_rxbuf": MRG_RXBUF,
    "status": STATUS,
    "ctrl_vq": CTRL_VQ,
    "ctrl_rx": CTRL_RX,
    "ctrl_vlan": CTRL_VLAN,
    "ctrl_rx_extra": CTRL_RX_EXTRA,
    "guest_announce": GUEST_ANNOUNCE,
    "ctrl_mac_addr": CTRL_MAC_ADDR,
}


def offered(options: NetOptions, vnet_header: bool, pairs: int) -> int:
    """The bits that a card with ``options`` offers. ``vnet_header``: the peer takes and gives unfinished frames."""
    bits = MAC
    for name, bit in _BY_OPTION.items():
        if getattr(options, name):
            bits |= bit
    if options.host_mtu:
        bits |= MTU
    if pairs > 1:
        bits |= MQ
    if options.speed >= 0 or options.duplex:
        bits |= SPEED_DUPLEX
    if not options.gso:
        bits &= ~(HOST_TSO4 | HOST_TSO6 | HOST_ECN | HOST_UFO)
    if not vnet_header:
        bits &= ~_NEEDS_VNET_HEADER
    return consistent(bits)


def consistent(bits: int) -> int:
    """``bits`` without those that need others that are not there."""
    for dependent, needed in _NEEDS:
        if not bits & needed:
            bits &= ~dependent
    return bits
