# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzzing of a client's protocol core: any bytes of a server end in an outcome or in an error, within bounds.

``fuzz_one`` is what atheris calls: ``atheris.Setup(sys.argv, fuzz_one); atheris.Fuzz()``. The test drives it by
hypothesis.
"""

from __future__ import annotations

from asyncemu.block.nbd.client_negotiation import MAX_REPLY_DATA, ClientNegotiation, Refused
from asyncemu.block.nbd.client_transmission import ClientTransmission
from asyncemu.block.nbd.constants import CMD_BLOCK_STATUS, CMD_FLUSH, CMD_READ
from asyncemu.errors import ProtocolError
from asyncemu.memory.buffers import Buffers

LENGTH = 1000


def fuzz_one(data: bytes) -> None:
    """The first byte chooses where to begin and in which pieces; the others are the server's stream."""
    choice, stream = data[:1] or b"\0", data[1:]
    piece = 1 + choice[0] % 32
    try:
        if choice[0] & 0x80:
            _transmit(stream, piece, structured=bool(choice[0] & 0x40))
        else:
            _negotiate(stream, piece, listing=bool(choice[0] & 0x40), tls=bool(choice[0] & 0x20))
    except (ProtocolError, Refused) as error:
        assert "\n" not in str(error)


def _negotiate(stream: bytes, piece: int, *, listing: bool, tls: bool) -> None:
    client = ClientNegotiation("disk", listing=listing, tls=tls)
    for start in range(0, len(stream), piece):
        client.receive(stream[start : start + piece])
        while client.step() is not None:
            pass
        assert len(client._received) <= MAX_REPLY_DATA + piece or client.done
        if client.starts_tls:
            client.tls_started()
        if client.done:
            return
    assert client.end().problem


def _transmit(stream: bytes, piece: int, *, structured: bool) -> None:
    memory = bytearray(LENGTH + 2)
    inside = memoryview(memory)[1:-1]
    transmission = ClientTransmission(structured, 0)
    transmission.begin(CMD_READ, 0, 0, LENGTH, Buffers.of(inside[:300], inside[300:]))
    transmission.begin(CMD_BLOCK_STATUS, 0, 0, LENGTH)
    transmission.begin(CMD_FLUSH, 0, 0, 0)
    position = 0
    while transmission.pending:
        while transmission.next() is not None:
            pass
        if position == len(stream):
            break
        targets = transmission.targets()
        count = min(targets.nbytes, piece, len(stream) - position)
        assert count, "nowhere to receive"
        targets.write(stream[position : position + count])
        transmission.received(count)
        position += count
    assert memory[0] == memory[-1] == 0
