# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzzing of a server's protocol core: any bytes of a client end in replies or in ProtocolError, within bounds.

``fuzz_one`` is what atheris calls: ``atheris.Setup(sys.argv, fuzz_one); atheris.Fuzz()``. The test drives it by
hypothesis.
"""

from __future__ import annotations

from asyncemu.block.nbd.constants import MAX_BUFFER_SIZE
from asyncemu.block.nbd.server_negotiation import MAX_OPTION_DATA, ServerNegotiation, State
from asyncemu.block.nbd.server_transmission import RequestParser, Terms
from asyncemu.errors import ProtocolError
from tests.block.nbd.handshake import DISK, EXPORTS, FIXED_NO_ZEROES

#: Bytes of replies to one option: the list of exports, at the most.
MAX_REPLIES = 4096


def fuzz_one(data: bytes) -> None:
    """The first byte chooses where to begin and in which pieces; the others are the client's stream."""
    choice, stream = data[:1] or b"\0", data[1:]
    piece = 1 + choice[0] % 64
    try:
        if choice[0] & 0x80:
            _transmit(b"", stream, piece)
        else:
            _negotiate(stream if choice[0] & 0x40 else FIXED_NO_ZEROES + stream, piece)
    except ProtocolError as error:
        assert "\n" not in str(error)


def _negotiate(stream: bytes, piece: int) -> None:
    negotiation = ServerNegotiation(lambda: EXPORTS, tls=piece % 8 == 0, peer="client")
    for start in range(0, len(stream), piece):
        negotiation.receive(stream[start : start + piece])
        assert len(negotiation._received) <= MAX_OPTION_DATA + 64
        while (replies := negotiation.step()) is not None:
            assert len(replies) <= MAX_REPLIES
        if negotiation.state is State.STARTTLS:
            negotiation.tls_started()
        if not negotiation.negotiating:
            _transmit(negotiation.rest(), stream[start + piece :], piece)
            return


def _transmit(rest: bytes, stream: bytes, piece: int) -> None:
    terms = Terms(DISK.size, read_only=piece % 4 == 0, structured_replies=piece % 2 == 0, has_contexts=True)
    parser = RequestParser(terms, _allocate, rest=rest)
    position = 0
    while True:
        while (incoming := parser.next()) is not None:
            if incoming.refusal is None and incoming.data is not None:
                assert len(incoming.data) == incoming.request.length <= MAX_BUFFER_SIZE
        if position == len(stream):
            return
        target = parser.buffer()
        count = min(len(target), piece, len(stream) - position)
        assert count, "nowhere to receive"
        target[:count] = stream[position : position + count]
        parser.received(count)
        position += count


def _allocate(length: int) -> memoryview:
    assert length <= DISK.size
    return memoryview(bytearray(length))
