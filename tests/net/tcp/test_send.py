# SPDX-License-Identifier: GPL-2.0-or-later
"""The send side: segments, the peer's window, retransmission, probes, and giving up."""

from __future__ import annotations

import pytest

from asyncemu.net.tcp import Reason, State, TcpSettings
from asyncemu.net.tcp.segment import ACK, FIN, PSH, RST, SYN
from tests.net.tcp.harness import ISS, MS, PLAIN, SECOND, Lab

Answers = list[tuple[int, int, int, bytes]]


def established(window: int = 5000, settings: TcpSettings = PLAIN) -> Lab:
    return Lab.in_state(State.ESTABLISHED, settings, window)


def spans(answers: Answers) -> list[tuple[int, int]]:
    """Start and length."""
    return [(start, len(data)) for start, _, _, data in answers]


def sack(*edges: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    return tuple(((ISS + left) & 0xFFFFFFFF, (ISS + right) & 0xFFFFFFFF) for left, right in edges)


def test_data_is_cut_into_segments_and_last_one_is_pushed() -> None:
    lab = established()

    answers = lab.write(bytes(range(250)) * 10)

    assert spans(answers) == [(1, 1000), (1001, 1000), (2001, 500)]
    assert b"".join(data for _, _, _, data in answers) == bytes(range(250)) * 10
    assert [segment.flags & PSH for segment, _ in lab.sent] == [0, 0, PSH]


def test_data_for_a_peer_that_cuts_itself_goes_in_large_segments() -> None:
    lab = established(window=50_000, settings=PLAIN._replace(send_buffer=100_000))
    lab.connection.max_segment = 30_500

    answers = lab.write(bytes(45_300))

    assert spans(answers) == [(1, 30_000), (30_001, 15_300)]


def test_write_takes_what_there_is_room_for() -> None:
    lab = established(window=0)

    assert lab.connection.write(bytes(10_000)) == 8000
    assert lab.connection.room == 0
    assert lab.connection.write(b"more") == 0


def test_reserved_memory_is_sent() -> None:
    lab = established()

    view = lab.connection.reserve()
    view[:5] = b"hello"
    lab.connection.commit(5)
    lab.transmit()

    assert len(view) == 8000
    assert lab.answers() == [(1, 1, ACK, b"hello")]


def test_segment_refused_by_link_is_sent_later() -> None:
    lab = established()
    lab.link_full = True
    assert lab.write(bytes(2000)) == []
    assert lab.connection.next_deadline() is None

    lab.link_full = False
    lab.transmit()

    assert spans(lab.answers()) == [(1, 1000), (1001, 1000)]


# ---- the peer's window


def test_window_bounds_what_is_sent() -> None:
    lab = established(window=2000)

    assert spans(lab.write(bytes(5000))) == [(1, 1000), (1001, 1000)]
    assert spans(lab.arrives(1, 2001, window=1000)) == [(2001, 1000)]


def test_window_smaller_than_a_segment_is_not_filled() -> None:
    # RFC 1122, 4.2.3.4.
    lab = established(window=2000)

    lab.write(bytes(5000))
    answers = lab.arrives(1, 1001, window=1400)

    assert answers == []


def test_window_that_was_never_larger_is_used_by_halves() -> None:
    lab = established(window=300)

    assert spans(lab.write(bytes(1000))) == [(1, 300)]
    assert spans(lab.arrives(1, 301, window=150)) == [(301, 150)]


def test_window_of_an_old_segment_is_ignored() -> None:
    lab = established(window=2000)
    lab.write(bytes(5000))
    lab.arrives(1, 2001, ACK, b"abc", window=0)

    answers = lab.arrives(1, 2001, window=3000)

    assert all(data == b"" for _, _, _, data in answers)


def test_window_closed_is_probed_with_a_byte_for_as_long_as_it_is_answered() -> None:
    lab = established(window=0)

    assert lab.write(b"data") == []
    probes = []
    for _ in range(60):
        probes += spans(lab.wait(10 * SECOND))
        lab.arrives(1, 1, window=0)
    opened = lab.arrives(1, 1, window=100)

    assert set(probes) == {(1, 1)}
    assert len(probes) >= 40
    assert spans(opened) == [(1, 4)]
    assert lab.connection.next_deadline() == lab.now + 200 * MS


def test_window_closed_probe_that_was_accepted_counts() -> None:
    lab = established(window=0)
    lab.write(b"data")
    lab.wait(SECOND)

    answers = lab.arrives(1, 2, window=100)

    assert answers == [(2, 1, ACK, b"ata")]


def test_window_closed_probes_without_answer_end_the_connection() -> None:
    lab = established(window=0)
    lab.write(b"data")

    lab.wait(200 * SECOND)

    assert lab.connection.reason is Reason.TIMED_OUT


def test_window_closed_acks_are_acceptable_after_a_probe() -> None:
    lab = established(window=0)
    lab.write(b"data")
    lab.wait(SECOND)

    answers = lab.arrives(1, 1, ACK, bytes(2000), window=0)
    lab.connection.abort()
    lab.transmit()

    assert answers == [(1, 2001, ACK, b"")]
    assert lab.answers()[-1] == (1, 2001, RST | ACK, b"")


def test_window_closed_probes_taken_by_both_do_not_lock() -> None:
    lab = established(window=0)
    lab.write(b"data")
    lab.wait(SECOND)
    lab.arrives(1, 1, ACK, b"x", window=0)

    # The peer does not know yet that its probe was taken, so its ACK of ours has the old number.
    lab.arrives(1, 2, ACK, window=0)

    assert lab.connection.unacknowledged == 3


def test_window_closed_fin_waits() -> None:
    lab = established(window=0)

    assert lab.close() == []
    assert lab.arrives(1, 1, window=1) == [(1, 1, ACK | FIN, b"")]


def test_window_is_scaled_by_the_peers_shift() -> None:
    lab = Lab(PLAIN._replace(window_scaling=True, send_buffer=100_000))
    lab.accept(window_scale=3)
    lab.connection.establish()
    lab.transmit()
    lab.arrives(1, 1, window=1000)

    assert sum(length for _, length in spans(lab.write(bytes(20_000)))) == 8000


# ---- timeouts: RFC 6298


def test_timeout_sends_first_segment_again_and_waits_twice_as_long() -> None:
    lab = established()
    lab.write(bytes(3000))

    times = []
    for _ in range(4):
        deadline = lab.connection.next_deadline()
        assert deadline is not None
        times.append(deadline - lab.now)
        assert spans(lab.wait(deadline - lab.now)) == [(1, 1000)]

    # The handshake was measured.
    assert times == [200 * MS, 400 * MS, 800 * MS, 1600 * MS]


def test_timeout_then_ack_sends_the_rest_again() -> None:
    lab = established()
    lab.write(bytes(3000))
    lab.wait(200 * MS)

    assert spans(lab.arrives(1, 1001)) == [(1001, 1000), (2001, 1000)]


def test_timeout_then_ack_of_all_sends_nothing_again() -> None:
    lab = established()
    lab.write(bytes(3000))
    lab.wait(200 * MS)

    assert lab.arrives(1, 3001) == []
    assert lab.connection.next_deadline() is None


def test_timeout_of_fin_sends_it_again() -> None:
    lab = established()
    lab.close()

    assert lab.wait(200 * MS) == [(1, 1, ACK | FIN, b"")]


def test_timeout_after_timeout_gives_up_with_a_reset() -> None:
    lab = established()
    lab.write(b"data")

    answers = lab.wait(100 * SECOND)
    assert not lab.connection.closed
    answers = lab.wait(600 * SECOND)

    assert lab.connection.reason is Reason.TIMED_OUT
    assert answers[-1] == (5, 1, RST | ACK, b"")


@pytest.mark.parametrize("state", [State.SYN_SENT, State.SYN_RECEIVED])
def test_timeout_of_syn_sends_it_again_and_gives_up(state: State) -> None:
    lab = Lab.in_state(state)

    answers = lab.wait(10 * SECOND)
    lab.wait(300 * SECOND)

    expected = (0, -1, SYN, b"") if state is State.SYN_SENT else (0, 1, SYN | ACK, b"")
    assert answers == [expected] * 3
    assert lab.connection.reason is Reason.TIMED_OUT


def test_round_trip_of_what_was_sent_twice_is_not_measured() -> None:
    # Karn: RFC 6298, 3.
    lab = established()
    lab.write(b"data")
    lab.wait(200 * MS)
    lab.now += 50 * MS
    lab.arrives(1, 5)

    lab.write(b"data")

    assert lab.connection.next_deadline() == lab.now + 400 * MS


def test_round_trip_measured_moves_the_timeout() -> None:
    lab = established()
    for index in range(8):
        lab.write(b"x")
        lab.now += 150 * MS
        lab.arrives(1, 2 + index)
    lab.write(b"x")

    deadline = lab.connection.next_deadline()

    assert deadline is not None
    assert 250 * MS < deadline - lab.now < 500 * MS


# ---- fast retransmit: RFC 5681, 3.2; RFC 6582


def test_three_duplicates_send_first_segment_again_at_once() -> None:
    lab = established()
    lab.write(bytes(4000))

    assert lab.arrives(1, 1) == []
    assert lab.arrives(1, 1) == []
    assert spans(lab.arrives(1, 1)) == [(1, 1000)]
    assert lab.arrives(1, 1) == []
    assert lab.arrives(1, 4001) == []


def test_partial_ack_in_recovery_sends_the_next_loss_again() -> None:
    lab = established()
    lab.write(bytes(4000))
    for _ in range(3):
        lab.arrives(1, 1)

    assert spans(lab.arrives(1, 2001)) == [(2001, 1000)]
    assert lab.arrives(1, 4001) == []


@pytest.mark.parametrize(
    ("flags", "data", "window"),
    [(ACK, b"data", 5000), (ACK, b"", 4999)],
)
def test_acks_with_news_are_no_duplicates(flags: int, data: bytes, window: int) -> None:
    lab = established()
    lab.write(bytes(4000))

    answers: Answers = []
    for index in range(5):
        answers += lab.arrives(1, 1, flags, data, window=window - index)

    assert all(length == 0 for _, length in spans(answers))


def test_duplicates_with_nothing_outstanding_are_ignored() -> None:
    lab = established()

    for _ in range(5):
        assert lab.arrives(1, 1) == []


# ---- SACK received: RFC 2018


def with_sack() -> Lab:
    lab = Lab(PLAIN._replace(sack=True), window=8000)
    lab.accept(sack_permitted=True)
    lab.connection.establish()
    lab.transmit()
    lab.arrives(1, 1)
    lab.sent.clear()
    return lab


def test_sack_only_holes_are_sent_again() -> None:
    lab = with_sack()
    lab.write(bytes(7000))

    lab.arrives(1, 1, sack=sack((1001, 2001)))
    lab.arrives(1, 1, sack=sack((4001, 5001), (1001, 2001)))
    answers = lab.arrives(1, 1, sack=sack((4001, 6001), (1001, 2001)))

    assert spans(answers) == [(1, 1000), (2001, 1000), (3001, 1000)]


def test_sack_after_timeout_skips_what_arrived() -> None:
    lab = with_sack()
    lab.write(bytes(5000))
    lab.wait(200 * MS)

    answers = lab.arrives(1, 1001, sack=sack((2001, 4001)))

    assert spans(answers) == [(1001, 1000), (4001, 1000)]


@pytest.mark.parametrize("edges", [(0, 1), (1, 1001), (9000, 9500), (1001, 9000), (2001, 1001), (1 << 31, 5)])
def test_sack_of_nonsense_is_ignored(edges: tuple[int, int]) -> None:
    lab = with_sack()
    lab.write(bytes(4000))

    lab.arrives(1, 1, sack=sack(edges), window=7999)

    assert lab.connection._sender._sacked == []


# ---- ICMP: RFC 1122, 4.2.3.9; RFC 5927


def test_unreachable_hard_ends_an_opening() -> None:
    lab = Lab.in_state(State.SYN_SENT)

    lab.connection.unreachable(ISS, hard=True)

    assert lab.connection.reason is Reason.UNREACHABLE


def test_unreachable_with_a_guessed_number_is_ignored() -> None:
    lab = Lab.in_state(State.SYN_SENT)

    lab.connection.unreachable((ISS + 1) & 0xFFFFFFFF, hard=True)

    assert not lab.connection.closed


@pytest.mark.parametrize("hard", [True, False])
def test_unreachable_explains_only_why_an_open_connection_times_out(hard: bool) -> None:
    lab = established()
    lab.write(b"data")

    lab.connection.unreachable((ISS + 1) & 0xFFFFFFFF, hard)
    assert not lab.connection.closed
    lab.wait(600 * SECOND)

    assert lab.connection.reason is Reason.UNREACHABLE


def test_packet_too_big_cuts_smaller_and_sends_again() -> None:
    lab = established()
    lab.write(bytes(2000))

    lab.connection.packet_too_big((ISS + 1) & 0xFFFFFFFF, 500)
    start = len(lab.sent)
    lab.transmit()

    assert spans(lab.answers(start)) == [(1, 500), (501, 500), (1001, 500), (1501, 500)]
    assert lab.connection.segment_size == 500


def test_packet_too_big_with_a_guessed_number_is_ignored() -> None:
    lab = established()

    lab.connection.packet_too_big((ISS + 1) & 0xFFFFFFFF, 500)

    assert lab.connection.segment_size == 1000


# ---- timestamps: RFC 7323


def with_timestamps() -> Lab:
    lab = Lab(PLAIN._replace(timestamps=True))
    lab.accept(timestamps=(500, 0))
    lab.connection.establish()
    lab.transmit()
    return lab


def test_timestamps_echo_the_peers() -> None:
    lab = with_timestamps()
    stamps = lab.sent[-1][0].timestamps
    assert stamps is not None and stamps[1] == 500

    lab.arrives(1, 1, ACK, b"abc", timestamps=(600, stamps[0]))
    lab.write(b"x")

    stamps = lab.sent[-1][0].timestamps
    assert stamps is not None and stamps[1] == 600


def test_timestamps_make_room_in_segments() -> None:
    lab = with_timestamps()
    lab.arrives(1, 1, timestamps=(600, 0))

    assert spans(lab.write(bytes(1500))) == [(1, 988), (989, 512)]


def test_timestamp_that_is_old_drops_the_segment() -> None:
    lab = with_timestamps()
    lab.arrives(1, 1, timestamps=(600, 0))

    answers = lab.arrives(1, 1, ACK, b"abc", timestamps=(599, 0))

    assert answers == [(1, 1, ACK, b"")]
    assert lab.delivered == b""


def test_timestamp_that_is_old_after_a_month_counts() -> None:
    lab = with_timestamps()
    lab.arrives(1, 1, timestamps=(600, 0))
    lab.now += 30 * 24 * 3600 * SECOND

    lab.arrives(1, 1, ACK, b"abc", timestamps=(599, 0))

    assert lab.delivered == b"abc"


def test_timestamp_missing_drops_the_segment() -> None:
    lab = with_timestamps()
    lab.arrives(1, 1, timestamps=(600, 0))

    assert lab.arrives(1, 1, ACK, b"abc") == []
    assert lab.delivered == b""


def test_timestamp_missing_reset_counts() -> None:
    lab = with_timestamps()
    lab.arrives(1, 1, timestamps=(600, 0))

    lab.arrives(1, 1, RST)

    assert lab.connection.reason is Reason.RESET


def test_timestamps_measure_what_was_sent_twice() -> None:
    lab = with_timestamps()
    lab.arrives(1, 1, timestamps=(600, 0))
    lab.write(b"data")
    lab.wait(200 * MS)
    stamps = lab.sent[-1][0].timestamps
    assert stamps is not None
    lab.now += 10 * MS
    lab.arrives(1, 5, timestamps=(700, stamps[0]))

    lab.write(b"data")

    assert lab.connection.next_deadline() == lab.now + 200 * MS


# ---- options of the SYNs


@pytest.mark.parametrize(("mss", "expected"), [(None, 536), (0, 536), (1, 48), (700, 700), (9000, 1000), (65535, 1000)])
def test_mss_of_peer_bounds_segments(mss: int | None, expected: int) -> None:
    lab = Lab()
    lab.accept(mss=mss)

    assert lab.connection.segment_size == expected


def test_syn_offers_all_options() -> None:
    lab = Lab(TcpSettings(receive_buffer=65536))
    lab.connect()
    syn = lab.sent[0][0]

    assert (syn.mss, syn.window_scale, syn.sack_permitted) == (1460, 1, True)
    assert syn.timestamps is not None
    assert syn.window == 65535


def test_syn_ack_offers_only_what_was_offered() -> None:
    lab = Lab(TcpSettings())
    lab.accept()
    lab.connection.establish()
    lab.transmit()
    answer = lab.sent[0][0]

    assert answer == answer._replace(mss=1460, window_scale=None, sack_permitted=False, timestamps=None)


def test_shift_of_peer_is_at_most_14() -> None:
    lab = Lab(TcpSettings())
    lab.accept(window_scale=200)

    assert lab.connection._agreement.send_shift == 14


def test_acknowledged_data_frees_room() -> None:
    lab = established()
    lab.write(bytes(4000))

    lab.arrives(1, 3001)

    assert lab.connection.unacknowledged == 1000
    assert lab.connection.room == 7000
