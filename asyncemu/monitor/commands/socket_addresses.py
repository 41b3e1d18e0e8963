# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses of sockets as commands take them. QEMU: SocketAddressLegacy, of which we have TCP and unix sockets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from asyncemu.wire_model import WireModel


class InetSocketAddress(WireModel):
    """QEMU: InetSocketAddress. ``port`` is a number or a service's name, as text."""

    host: str
    port: str
    ipv4: bool | None = None
    ipv6: bool | None = None


class UnixSocketAddress(WireModel):
    """QEMU: UnixSocketAddress."""

    path: str


class InetSocketAddressWrapper(WireModel):
    """TCP."""

    type: Literal["inet"]
    data: InetSocketAddress


class UnixSocketAddressWrapper(WireModel):
    """A unix socket."""

    type: Literal["unix"]
    data: UnixSocketAddress


SocketAddressLegacy = Annotated[InetSocketAddressWrapper | UnixSocketAddressWrapper, Field(discriminator="type")]
