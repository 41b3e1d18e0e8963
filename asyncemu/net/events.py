# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of networks, with QEMU's names and data."""

from __future__ import annotations

from typing import Literal

from asyncemu.events import Event
from asyncemu.wire_model import WireModel


class InetSocketAddress(WireModel):
    """An end of a TCP connection."""

    type: Literal["inet"] = "inet"
    host: str
    #: A number; QEMU's is a string, as it may be a name elsewhere.
    port: str
    ipv4: bool | None = None
    ipv6: bool | None = None


class UnixSocketAddress(WireModel):
    """A unix socket; that of the server, as clients have none."""

    type: Literal["unix"] = "unix"
    path: str


class NetdevStreamConnected(Event, name="NETDEV_STREAM_CONNECTED"):
    """A netdev ``stream`` has a peer."""

    netdev_id: str
    #: Of the peer.
    addr: InetSocketAddress | UnixSocketAddress


class NetdevStreamDisconnected(Event, name="NETDEV_STREAM_DISCONNECTED"):
    """The peer has left."""

    netdev_id: str


class NicRxFilterChanged(Event, name="NIC_RX_FILTER_CHANGED"):
    """The guest has changed what a card lets in. Once, until somebody asks what it is."""

    #: Id of the card.
    name: str | None = None
    #: In the tree of objects.
    path: str
