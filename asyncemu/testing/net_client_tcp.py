# SPDX-License-Identifier: GPL-2.0-or-later
"""Stream: a TCP connection of a NetClient."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncemu.memory.buffers import Buffers
from asyncemu.net.frame import NEEDS_CHECKSUM, Frame, VnetHeader
from asyncemu.net.packets import checksum, tcp
from asyncemu.net.tcp import Reason, Segment, State, TcpConnection
from asyncemu.net.user.paths import path_between

if TYPE_CHECKING:
    from asyncemu.testing.net_client import NetClient


class Stream:
    """A TCP connection of the client."""

    def __init__(self, client: NetClient, key: tuple[bytes, int, bytes, int], core: TcpConnection) -> None:
        self.client = client
        self.key = key
        self.core = core
        self.armed: int | None = None
        self.is_dirty = False
        #: Takes what arrives in the place of ``read``: views that are lent for the call.
        self.sink: Callable[[Buffers], None] | None = None
        self._changed = asyncio.Event()
        local, _, remote, _ = key
        self.path = path_between(client.mac, local, remote, tcp.PROTOCOL)

    # ---- for tests

    async def wait(self, condition: Callable[[], bool]) -> None:
        """Return when ``condition()`` holds; it is looked at after each segment."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def read(self, length: int = -1) -> bytes:
        """``length`` bytes, or fewer at the end; all up to the end where not given. ConnectionError after a RST."""
        data = bytearray()
        while length < 0 or len(data) < length:
            core = self.core
            await self.wait(lambda: bool(self.core.received()) or self.core.at_end or self.core.closed)
            views = core.received()
            for view in views:
                wanted = len(view) if length < 0 else min(len(view), length - len(data))
                data += view[:wanted]
                core.consumed(wanted)
                if len(data) == length:
                    break
            self.client.mark(self)
            if not views:
                if core.reason is not None:
                    raise ConnectionResetError(core.reason.value)
                break
        return bytes(data)

    async def write(self, data: bytes) -> None:
        """Queue all of ``data``; returns when the last of it is. ConnectionError after a RST."""
        rest: bytes | memoryview = data
        while len(rest):
            await self.wait(lambda: self.core.room > 0 or self.core.closed)
            if self.core.closed:
                raise ConnectionResetError(str(self.core.reason))
            taken = self.core.write(rest)
            rest = memoryview(rest)[taken:] if taken < len(rest) else b""
            self.client.mark(self)

    def close(self) -> None:
        """Nothing more is written."""
        self.core.close()
        self.client.mark(self)

    def abort(self) -> None:
        """A RST."""
        self.core.abort()
        self.client.mark(self)

    async def closed(self) -> Reason | None:
        """Wait until it is over: why."""
        await self.wait(lambda: self.core.closed or self.core.state is State.TIME_WAIT)
        return self.core.reason

    # ---- for the client

    def arrives(self, segment: Segment, payload: Buffers, now: int) -> None:
        """A segment for it."""
        core = self.core
        lent = core.segment_arrives(segment, payload, now)
        if lent:
            if self.sink is not None:
                self.sink(lent)
                core.consumed(lent.nbytes)
            else:
                core.consumed(0)
        self._changed.set()
        self.client.mark(self)

    def transmit(self) -> bool:
        """Send what is to be sent; False: no room."""
        self.is_dirty = False
        client = self.client
        sent = self.core.transmit(self._emit, client.now)
        client.deadlines.touch(self)
        if self.core.closed and sent:
            client.forget(self)
        self._changed.set()
        return sent

    def _emit(self, segment: Segment, payload: Buffers) -> bool:
        _, port, _, remote_port = self.key
        path = self.path
        header = tcp.pack_header(port, remote_port, segment, 0)
        length = payload.nbytes
        total = path.pseudo + len(header) + length
        vnet = VnetHeader()
        if self.client.offload:
            total %= 65535
            unsummed = path.tcp_unsummed
            vnet = unsummed
            if length > self.core.segment_size:
                vnet = VnetHeader(NEEDS_CHECKSUM, path.gso_type, 0, self.core.segment_size, unsummed.checksum_start, 16)
        else:
            total = checksum.add_views([header, *payload], total) ^ 0xFFFF
        header = header[:16] + total.to_bytes(2, "big") + header[18:]
        head = memoryview(path.head(self.client.gateway_mac, len(header) + length) + header)
        return self.client.hand_over((Frame(Buffers((head, *payload)), vnet),)) > 0

    def next_deadline(self) -> int | None:
        """See deadlines.Owner."""
        return self.core.next_deadline()

    def on_deadline(self, now: int) -> None:
        """See deadlines.Owner."""
        self.client.now = now
        self.core.on_deadline(now)
        self.client.mark(self)
