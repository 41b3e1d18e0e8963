# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-rewriter: a secondary guest continues what its primary has begun."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncemu.memory.buffers import Buffers
from asyncemu.net.filters import rewriter as module
from asyncemu.net.filters.rewriter import Rewriter
from asyncemu.net.frame import NEEDS_CHECKSUM, Frame, VnetHeader
from asyncemu.net.packets import checksum, ethernet, ipv6, tcp
from asyncemu.net.tcp.segment import ACK, FIN, PSH, RST, SYN, Segment
from tests.net.filters.conftest import Link
from tests.net.frames import GUEST, GUEST_MAC, HEADERS, HOST, HOST_MAC, is_whole, tcp_frame

NUMBERS = st.integers(min_value=0, max_value=0xFFFFFFFF)
MASK = 0xFFFFFFFF


class Talk:
    """A client at the netdev's side, and the secondary guest."""

    def __init__(self, link: Link) -> None:
        self.link = link

    def client(self, segment: Segment, payload: bytes = b"", port: int = 1000) -> Segment:
        """What the guest gets of what the client says."""
        self.link.netdev.feed(tcp_frame(segment, payload, (port, 80), HOST, GUEST))
        return seen(self.link.guest.received.pop())

    def guest(self, segment: Segment, payload: bytes = b"", port: int = 1000) -> Segment:
        """What the client gets of what the guest says."""
        self.link.guest.feed(tcp_frame(segment, payload, (80, port), GUEST, HOST))
        return seen(self.link.netdev.received.pop())

    def begin(self, client: int, primary: int, secondary: int) -> None:
        """The client's handshake is with the primary; the secondary sees its half of it."""
        self.client(Segment(client, 0, SYN, 1000))
        self.guest(Segment(secondary, client + 1 & MASK, SYN | ACK, 1000))
        self.client(Segment(client + 1 & MASK, primary + 1 & MASK, ACK, 1000))


def seen(frame: Frame) -> Segment:
    data = frame.tobytes()
    assert is_whole(data)
    return tcp.parse(data, HEADERS).segment


@pytest.fixture
async def talk(link: Link) -> Talk:
    await link.add(Rewriter)
    return Talk(link)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(client=NUMBERS, primary=NUMBERS, secondary=NUMBERS)
async def test_numbers_are_shifted_both_ways(talk: Talk, client: int, primary: int, secondary: int) -> None:
    syn = talk.client(Segment(client, 0, SYN, 1000))
    talk.guest(Segment(secondary, client + 1 & MASK, SYN | ACK, 1000))
    first = talk.client(Segment(client + 1 & MASK, primary + 1 & MASK, ACK, 1000))
    request = talk.client(Segment(client + 1 & MASK, primary + 1 & MASK, ACK | PSH, 1000), b"GET")
    answer = talk.guest(Segment(secondary + 1 & MASK, client + 4 & MASK, ACK, 1000), b"200")

    assert (syn.sequence, syn.acknowledgment) == (client, 0)
    assert first.acknowledgment == request.acknowledgment == secondary + 1 & MASK
    assert request.sequence == client + 1 & MASK
    assert (answer.sequence, answer.acknowledgment) == (primary + 1 & MASK, client + 4 & MASK)


async def test_end_of_a_connection_is_shifted_too(talk: Talk) -> None:
    talk.begin(100, 5000, 9000)

    fin = talk.guest(Segment(9001, 101, FIN | ACK, 1000))
    last = talk.client(Segment(101, 5002, ACK, 1000))

    assert (fin.sequence, last.acknowledgment) == (5001, 9002)


async def test_reset_of_the_guest_is_shifted_and_ends_it(talk: Talk) -> None:
    talk.begin(100, 5000, 9000)

    reset = talk.guest(Segment(9001, 0, RST, 0))
    later = talk.client(Segment(101, 5001, ACK, 1000))

    assert (reset.sequence, later.acknowledgment) == (5001, 5001)


async def test_connection_that_began_before_passes(talk: Talk) -> None:
    assert talk.client(Segment(1, 2, ACK, 1000)).acknowledgment == 2
    assert talk.guest(Segment(3, 4, ACK, 1000)).sequence == 3


async def test_connections_are_told_apart(talk: Talk) -> None:
    talk.begin(100, 5000, 9000)

    assert talk.client(Segment(101, 5001, ACK, 1000), port=1001).acknowledgment == 5001
    assert talk.client(Segment(101, 5001, ACK, 1000), port=1000).acknowledgment == 9001


async def test_repeated_syn_ack_does_not_move_an_offset(talk: Talk) -> None:
    talk.begin(100, 5000, 9000)

    talk.guest(Segment(9000, 101, SYN | ACK, 1000))

    assert talk.client(Segment(101, 5001, ACK, 1000)).acknowledgment == 9001


async def test_same_ports_again_are_a_new_connection(talk: Talk) -> None:
    talk.begin(100, 5000, 9000)
    talk.begin(200, 7000, 1000)

    assert talk.guest(Segment(1001, 201, ACK, 1000)).sequence == 7001


async def test_checksum_that_is_missing_yet_is_left_to_who_fills_it_in(link: Link) -> None:
    talk = Talk(link)
    await link.add(Rewriter)
    talk.begin(100, 5000, 9000)
    data = bytearray(tcp_frame(Segment(9001, 101, ACK, 1000), b"x" * 100, (80, 1000), GUEST, HOST))
    data[HEADERS + 16 : HEADERS + 18] = b"\x12\x34"
    vnet = VnetHeader(NEEDS_CHECKSUM, 0, 0, 0, HEADERS, 16)

    link.guest.feed(Frame(Buffers.of(data[:40], data[40:]), vnet))

    (frame,) = link.netdev.received[-1:]
    after = frame.tobytes()
    assert (frame.vnet, after[HEADERS + 16 : HEADERS + 18]) == (vnet, b"\x12\x34")
    assert tcp.parse(after, HEADERS).segment.sequence == 5001


async def test_ipv6_is_shifted(link: Link) -> None:
    await link.add(Rewriter)
    client, server = bytes(15) + b"\1", bytes(15) + b"\2"

    def send(segment: Segment, from_client: bool) -> Segment:
        source, destination = (client, server) if from_client else (server, client)
        whole = tcp.pack(source, destination, (1000, 80) if from_client else (80, 1000), segment, b"")
        header = ipv6.Header(source, destination, tcp.PROTOCOL).pack(len(whole))
        frame = ethernet.Header(GUEST_MAC, HOST_MAC, ethernet.IPV6).pack() + header + whole
        (link.netdev if from_client else link.guest).feed(frame)
        data = (link.guest if from_client else link.netdev).frames[-1]
        assert checksum.is_right(source, destination, tcp.PROTOCOL, data[54:])
        return tcp.parse(data, 54).segment

    send(Segment(100, 0, SYN, 1000), True)
    send(Segment(9000, 101, SYN | ACK, 1000), False)

    assert send(Segment(101, 5001, ACK, 1000), True).acknowledgment == 9001
    assert send(Segment(9001, 101, ACK, 1000), False).sequence == 5001


async def test_connections_are_bounded(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 3)
    for port in range(1, 6):
        talk.client(Segment(1, 0, SYN, 1000), port=port)

    (rewriter,) = talk.link.filters
    assert isinstance(rewriter, Rewriter)
    assert rewriter.connections == 3


async def test_full_receiver_gets_the_same_later(talk: Talk) -> None:
    talk.begin(100, 5000, 9000)
    talk.link.netdev.room = 0
    talk.link.guest.feed(tcp_frame(Segment(9001, 101, ACK, 1000), b"", (80, 1000), GUEST, HOST))

    talk.link.netdev.accept()

    assert seen(talk.link.netdev.received[-1]).sequence == 5001


@given(data=st.binary(max_size=120))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_pass_as_they_are(talk: Talk, data: bytes) -> None:
    for start in (b"", bytes(12) + b"\x08\x00", bytes(12) + b"\x86\xdd"):
        talk.link.netdev.feed(start + data)

        assert talk.link.guest.received.pop().tobytes() == start + data
