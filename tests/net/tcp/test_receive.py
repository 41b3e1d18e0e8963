# SPDX-License-Identifier: GPL-2.0-or-later
"""The receive side: delivery in order, reassembly, the window, and when ACKs go out."""

from __future__ import annotations

import random

import pytest

from asyncemu.memory.buffers import Buffers
from asyncemu.net.tcp import Segment, State
from asyncemu.net.tcp.receiver import MAX_BLOCKS
from asyncemu.net.tcp.segment import ACK, FIN, URG
from tests.net.tcp.harness import IRS, ISS, MS, PLAIN, Lab

SACK = PLAIN._replace(sack=True)


def established(receive_buffer: int = 4000) -> Lab:
    return Lab.in_state(State.ESTABLISHED, PLAIN._replace(receive_buffer=receive_buffer))


def with_sack() -> Lab:
    lab = Lab(SACK)
    lab.accept(sack_permitted=True)
    lab.connection.establish()
    lab.transmit()
    lab.arrives(1, 1)
    lab.sent.clear()
    return lab


def test_data_in_order_is_lent_without_a_copy() -> None:
    lab = established()
    memory = bytearray(b"some data")

    lent = lab.connection.segment_arrives(
        Segment((IRS + 1) & 0xFFFFFFFF, (ISS + 1) & 0xFFFFFFFF, ACK, 5000), Buffers.of(memory), lab.now
    )

    assert [view.obj for view in lent] == [memory]


def test_consumed_forgotten_raises() -> None:
    lab = established()
    segment = Segment((IRS + 1) & 0xFFFFFFFF, (ISS + 1) & 0xFFFFFFFF, ACK, 5000)
    lab.connection.segment_arrives(segment, Buffers.of(b"some data"), lab.now)

    with pytest.raises(RuntimeError, match=r"consumed\(\) was not called"):
        lab.connection.segment_arrives(segment, Buffers(), lab.now)


def test_data_not_taken_is_kept_in_order() -> None:
    lab = established()
    lab.takes = False

    lab.arrives(1, 1, ACK, b"abc")
    lab.arrives(4, 1, ACK, b"def")
    lab.read()

    assert lab.delivered == b"abcdef"


def test_data_partly_taken_keeps_the_rest() -> None:
    lab = established()
    segment = Segment((IRS + 1) & 0xFFFFFFFF, (ISS + 1) & 0xFFFFFFFF, ACK, 5000)
    memory = bytearray(b"abcdef")

    lab.connection.segment_arrives(segment, Buffers.of(memory), lab.now)
    lab.connection.consumed(2)
    memory[:] = bytes(6)

    assert lab.connection.received().tobytes() == b"cdef"


def test_end_is_reached_when_all_was_taken() -> None:
    lab = established()
    lab.takes = False

    lab.arrives(1, 1, ACK | FIN, b"abc")
    before = lab.connection.at_end
    lab.read()

    assert not before
    assert lab.connection.at_end


def test_consumed_after_abort_does_nothing() -> None:
    lab = established()
    segment = Segment((IRS + 1) & 0xFFFFFFFF, (ISS + 1) & 0xFFFFFFFF, ACK, 5000)
    lab.connection.segment_arrives(segment, Buffers.of(b"some data"), lab.now)

    lab.connection.abort()
    lab.connection.consumed(4)

    assert lab.connection.closed
    assert lab.connection.received() == []


def test_data_that_overlaps_is_delivered_once() -> None:
    lab = established()

    lab.arrives(1, 1, ACK, b"abcd")
    lab.arrives(3, 1, ACK, b"cdef")

    assert lab.delivered == b"abcdef"


def test_data_out_of_order_waits_for_the_gap() -> None:
    lab = established()

    first = lab.arrives(4, 1, ACK, b"def")
    assert lab.delivered == b""
    second = lab.arrives(1, 1, ACK, b"abc")

    assert lab.delivered == b"abcdef"
    assert first == [(1, 1, ACK, b"")]
    assert second == [(1, 7, ACK, b"")]


def test_fin_out_of_order_waits_for_the_gap() -> None:
    lab = established()

    lab.arrives(4, 1, ACK | FIN, b"def")
    assert not lab.connection.peer_closed
    answers = lab.arrives(1, 1, ACK, b"abc")

    assert lab.connection.state is State.CLOSE_WAIT
    assert lab.delivered == b"abcdef"
    assert answers == [(1, 8, ACK, b"")]


def test_data_behind_fin_is_cut_off() -> None:
    lab = established()

    lab.arrives(4, 1, ACK | FIN, b"def")
    lab.arrives(1, 1, ACK, b"abcdefghi")

    assert lab.delivered == b"abcdef"


def test_data_in_pieces_of_all_orders_arrives_whole() -> None:
    dice = random.Random(5)
    data = dice.randbytes(3000)
    for _ in range(50):
        lab = established()
        pieces = [(start, dice.randint(1, 300)) for start in range(0, 3000, 60)] + [(0, 60)]
        pieces += [(start, 60) for start in range(0, 3000, 60)]
        dice.shuffle(pieces)

        for start, length in pieces:
            lab.arrives(1 + start, 1, ACK, data[start : start + length])

        assert lab.delivered == data


def test_blocks_out_of_order_are_bounded() -> None:
    lab = established()

    for start in range(1000, 1000 + 4 * MAX_BLOCKS, 2):
        lab.arrives(start, 1, ACK, b"x")

    assert len(lab.connection._receiver._blocks) == MAX_BLOCKS


def test_urgent_data_is_data() -> None:
    lab = established()

    lab.arrives(1, 1, ACK | URG, b"abc")

    assert lab.delivered == b"abc"


# ---- window: RFC 9293, 3.8.6; RFC 1122, 4.2.3.3


def test_window_closes_as_owner_stalls_and_data_beyond_is_cut() -> None:
    lab = established()
    lab.takes = False

    for start in range(1, 5001, 1000):
        lab.arrives(start, 1, ACK, bytes(1000))

    assert lab.sent[-1][0].window == 0
    assert lab.answers()[-1][1] == 4001
    assert lab.connection.received().nbytes == 4000


def test_window_that_opens_is_told() -> None:
    lab = established()
    lab.takes = False
    for start in range(1, 4001, 1000):
        lab.arrives(start, 1, ACK, bytes(1000))

    answers = lab.read()

    assert answers == [(1, 4001, ACK, b"")]
    assert lab.sent[-1][0].window == 4000


def test_window_that_opens_a_little_is_not_told() -> None:
    lab = established()
    lab.takes = False
    for start in range(1, 4001, 1000):
        lab.arrives(start, 1, ACK, bytes(1000))
    lab.sent.clear()

    lab.connection.consumed(900)
    lab.transmit()
    assert lab.sent == []
    lab.arrives(4001, 1, ACK, b"x")
    lab.wait(10 * MS)

    assert [segment.window for segment, _ in lab.sent] == [0]


def test_window_closed_fin_is_taken_still() -> None:
    lab = established()
    lab.takes = False
    for start in range(1, 4001, 1000):
        lab.arrives(start, 1, ACK, bytes(1000))

    lab.arrives(4001, 1, ACK | FIN)

    assert lab.connection.state is State.CLOSE_WAIT


def test_window_closed_ack_with_data_counts() -> None:
    lab = established()
    lab.takes = False
    for start in range(1, 4001, 1000):
        lab.arrives(start, 1, ACK, bytes(1000))
    lab.write(b"data")

    lab.arrives(4001, 5, ACK, b"probe")

    assert lab.connection.unacknowledged == 0
    assert lab.connection.received().nbytes == 4000


def test_window_is_scaled() -> None:
    lab = Lab(PLAIN._replace(window_scaling=True, receive_buffer=1 << 20))
    lab.accept(window_scale=2)
    lab.connection.establish()
    lab.transmit()
    assert lab.sent[-1][0].window_scale == 5
    assert lab.sent[-1][0].window == 65535

    lab.arrives(1, 1, ACK, bytes(1000))
    lab.arrives(1001, 1, ACK, bytes(1000))

    assert lab.sent[-1][0].window == (1 << 20) >> 5


def test_window_that_the_syn_could_not_tell_first_data_draws_no_ack_at_once() -> None:
    lab = Lab(PLAIN._replace(window_scaling=True, receive_buffer=1 << 18))
    lab.accept(window_scale=2)
    lab.connection.establish()
    lab.transmit()
    lab.arrives(1, 1)

    at_once = lab.arrives(1, 1, ACK, b"request")
    later = lab.wait(10 * MS)

    assert at_once == []
    assert later == [(1, 8, ACK, b"")]
    assert lab.sent[-1][0].window == (1 << 18) >> 3


def test_window_that_opens_a_peer_that_has_room_is_not_told() -> None:
    lab = established(60_000)
    lab.takes = False
    lab.arrives(1, 1, ACK, bytes(20_000))
    lab.takes = True

    assert lab.read() == []


def test_window_that_opens_a_peer_that_is_short_of_room_is_told() -> None:
    lab = established(60_000)
    lab.takes = False
    lab.arrives(1, 1, ACK, bytes(40_000))
    lab.takes = True

    assert lab.read() == [(1, 40_001, ACK, b"")]


# ---- ACKs: RFC 1122, 4.2.3.2; RFC 5681, 4.2


def test_ack_of_small_data_is_delayed() -> None:
    lab = established()

    assert lab.arrives(1, 1, ACK, b"abc") == []
    assert lab.wait(9 * MS) == []
    assert lab.wait(1 * MS) == [(1, 4, ACK, b"")]


def test_ack_goes_with_data() -> None:
    lab = established()

    lab.arrives(1, 1, ACK, b"abc")
    answers = lab.write(b"reply")

    assert answers == [(1, 4, ACK, b"reply")]
    assert lab.wait(9 * MS) == []
    assert lab.connection._ack_at is None


def test_ack_follows_every_second_full_segment() -> None:
    lab = established(60_000)

    answers = [lab.arrives(1 + 1000 * index, 1, ACK, bytes(1000)) for index in range(4)]

    assert answers == [[], [(1, 2001, ACK, b"")], [], [(1, 4001, ACK, b"")]]


def test_ack_follows_a_large_segment_at_once() -> None:
    lab = established(100_000)

    assert lab.arrives(1, 1, ACK, bytes(60_000)) == [(1, 60_001, ACK, b"")]


def test_acks_of_segments_out_of_order_all_go_out() -> None:
    lab = established()
    for start in (1001, 2001, 3001):
        lab.connection.segment_arrives(
            Segment((IRS + start) & 0xFFFFFFFF, (ISS + 1) & 0xFFFFFFFF, ACK, 5000), Buffers.of(bytes(1000)), lab.now
        )

    lab.transmit()

    assert lab.answers() == [(1, 1, ACK, b"")] * 3


def test_ack_refused_by_link_goes_out_later() -> None:
    lab = established()
    lab.link_full = True
    lab.arrives(1, 1, ACK | FIN, b"abc")
    assert not lab.transmit()

    lab.link_full = False
    assert lab.transmit()

    assert lab.answers() == [(1, 5, ACK, b"")]


# ---- SACK sent: RFC 2018, 4


def test_sack_names_blocks_latest_first() -> None:
    lab = with_sack()

    lab.arrives(101, 1, ACK, bytes(100))
    lab.arrives(301, 1, ACK, bytes(100))
    lab.arrives(501, 1, ACK, bytes(100))
    lab.arrives(401, 1, ACK, bytes(50))

    edges = [tuple((edge - IRS) & 0xFFFFFFFF for edge in block) for block in lab.sent[-1][0].sack]
    assert edges == [(301, 451), (101, 201), (501, 601)]


def test_sack_ends_with_the_gap() -> None:
    lab = with_sack()

    lab.arrives(101, 1, ACK, bytes(100))
    lab.arrives(1, 1, ACK, bytes(100))

    assert lab.sent[-1][0].sack == ()
    assert lab.answers()[-1][1] == 201


def test_sack_not_agreed_is_not_sent() -> None:
    lab = established()

    lab.arrives(101, 1, ACK, bytes(100))

    assert lab.sent[-1][0].sack == ()
