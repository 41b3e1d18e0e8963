# SPDX-License-Identifier: GPL-2.0-or-later
"""A netdev that is every IPv4 host there is, as far as ARP and ping can tell; a guest test names it by this path."""

from __future__ import annotations

import asyncio

from asyncemu.loop import AioContext, Clocks
from asyncemu.net import Frames, NetBackend
from asyncemu.options import Options

OUR_MAC = bytes.fromhex("525400000001")
ARP_REQUEST = bytes.fromhex("0806 0001 0800 0604 0001")
ECHO_REQUEST = 8


class Pong(NetBackend[Options]):
    """Answers each request; takes unfinished frames, and asks for none."""

    has_vnet_header = True

    def __init__(self, options: Options, id: str, context: AioContext, clocks: Clocks) -> None:
        super().__init__(options, id, context, clocks)
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self) -> None:
        while True:
            await self.deliver(await self._answers.get())

    def transmit(self, frames: Frames) -> None:
        for frame in frames:
            answer = _arp_answer(data) if (data := frame.tobytes())[12:22] == ARP_REQUEST else _echo_answer(data)
            if answer:
                self._answers.put_nowait(answer)


def _arp_answer(request: bytes) -> bytes:
    sender, target = request[22:32], request[38:42]
    return sender[:6] + OUR_MAC + ARP_REQUEST[:-1] + b"\2" + OUR_MAC + target + sender


def _echo_answer(request: bytes) -> bytes:
    """RFC 792, without options in the IP header, as Linux sends it."""
    if request[12:15] != b"\x08\x00\x45" or request[23] != 1 or request[34] != ECHO_REQUEST:
        return b""
    # Of the header's sum only the type has changed: RFC 1624.
    checksum = int.from_bytes(request[36:38], "big") + (ECHO_REQUEST << 8)
    checksum = (checksum & 0xFFFF) + (checksum >> 16)
    addresses = request[30:34] + request[26:30]
    icmp = b"\0\0" + checksum.to_bytes(2, "big") + request[38:]
    return request[6:12] + request[:6] + request[12:26] + addresses + icmp
