# SPDX-License-Identifier: GPL-2.0-or-later
"""UdpPort: a UDP port of a NetClient."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import Frame
from asyncemu.net.packets import udp
from asyncemu.net.user.paths import Path, path_between

if TYPE_CHECKING:
    from asyncemu.testing.net_client import NetClient


class Datagram(NamedTuple):
    """What has arrived at a UDP port, and from where."""

    payload: bytes
    address: str
    port: int


class UdpPort:
    """A UDP port of the client."""

    def __init__(self, client: NetClient, port: int) -> None:
        self.client = client
        self.port = port
        #: Takes what arrives in the place of ``receive``: the frame, lent for the call.
        self.sink: Callable[[Frame], None] | None = None
        self._received: asyncio.Queue[Datagram] = asyncio.Queue()
        self._paths: dict[str, Path] = {}

    def send(self, address: str, port: int, *payloads: bytes) -> None:
        """Send datagrams, all in one go."""
        client = self.client
        path = self._paths.get(address)
        if path is None:
            destination = pack_address(address)
            source = client.source_for(destination)
            path = self._paths[address] = path_between(client.mac, source, destination, udp.PROTOCOL)
        mac = client.gateway_mac
        frames = []
        for payload in payloads:
            length = udp.HEADER_LENGTH + len(payload)
            if client.offload:
                header = udp.pack_header(self.port, port, len(payload), (path.pseudo + length) % 65535)
                frames.append(
                    Frame(Buffers((memoryview(path.head(mac, length) + header + payload),)), path.udp_unsummed)
                )
            else:
                datagram = udp.pack(path.source, path.destination, self.port, port, payload)
                frames.append(Frame.of(path.head(mac, length) + datagram))
        client.inject(*frames)

    async def receive(self) -> Datagram:
        """The next one that arrives."""
        return await self._received.get()

    @property
    def waiting(self) -> int:
        """Datagrams that were not received yet."""
        return self._received.qsize()

    def arrives(self, datagram: Datagram) -> None:
        """For the client."""
        self._received.put_nowait(datagram)


def pack_address(text: str) -> bytes:
    """4 or 16 bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
