# SPDX-License-Identifier: GPL-2.0-or-later
"""A client's and a server's handshake without sockets."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from asyncemu.block.nbd.client_negotiation import ClientNegotiation
from asyncemu.block.nbd.constants import BASE_ALLOCATION, QEMU_ALLOCATION_DEPTH
from asyncemu.block.nbd.option_messages import REPLY_HEADER, BlockSizes, MetaContext
from asyncemu.block.nbd.server_negotiation import ExportOffer, ServerNegotiation

DISK = ExportOffer(
    name="disk",
    description="a disk",
    size=1 << 20,
    flags=0xD6D,
    block_sizes=BlockSizes(1, 4096, 32 << 20),
    contexts=(MetaContext(0, BASE_ALLOCATION), MetaContext(1, QEMU_ALLOCATION_DEPTH)),
)
EXPORTS: Mapping[str, ExportOffer] = {"disk": DISK}

FIXED_NO_ZEROES = struct.pack(">I", 3)


def server(*, tls: bool = False, exports: Mapping[str, ExportOffer] = EXPORTS) -> ServerNegotiation:
    """One that awaits the client's flags."""
    return ServerNegotiation(lambda: exports, tls=tls, peer="client")


def haggling(*, tls: bool = False, exports: Mapping[str, ExportOffer] = EXPORTS) -> ServerNegotiation:
    """One that awaits options, of a client that knows fixed newstyle and declines zeroes."""
    negotiation = server(tls=tls, exports=exports)
    ask(negotiation, FIXED_NO_ZEROES)
    return negotiation


def ask(negotiation: ServerNegotiation, data: bytes) -> bytes:
    """All that it replies to ``data``."""
    negotiation.receive(data)
    replies = b""
    while (reply := negotiation.step()) is not None:
        replies += reply
    return replies


def replies_in(data: bytes) -> list[tuple[int, int, bytes]]:
    """Option, reply type and data of each reply."""
    found = []
    while data:
        _, option, kind, length = REPLY_HEADER.unpack_from(data)
        found.append((option, kind, data[REPLY_HEADER.size : REPLY_HEADER.size + length]))
        data = data[REPLY_HEADER.size + length :]
    return found


def converse(client: ClientNegotiation, negotiation: ServerNegotiation, piece: int = 1 << 16) -> None:
    """Let both talk until the client is done, ``piece`` bytes at a time."""
    to_client = negotiation.greeting()
    while not client.done:
        requests = b""
        for start in range(0, len(to_client), piece):
            client.receive(to_client[start : start + piece])
            while (request := client.step()) is not None:
                requests += request
        to_client = b""
        for start in range(0, len(requests), piece):
            to_client += ask(negotiation, requests[start : start + piece])
        assert to_client or requests or client.done, "both wait"
