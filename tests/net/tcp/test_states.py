# SPDX-License-Identifier: GPL-2.0-or-later
"""What a segment does in each state: the tables of RFC 9293, 3.10.7, and RFC 5961."""

from __future__ import annotations

import pytest

from asyncemu.net.tcp import Reason, State
from asyncemu.net.tcp.segment import ACK, FIN, RST, SYN, Segment, reset_for
from tests.net.tcp.harness import IRS, ISS, SECOND, Lab

SYNCHRONIZED = [
    State.ESTABLISHED,
    State.FIN_WAIT_1,
    State.FIN_WAIT_2,
    State.CLOSE_WAIT,
    State.CLOSING,
    State.LAST_ACK,
    State.TIME_WAIT,
]
#: RCV.NXT from the peer's SYN on: one more when its FIN was received. And SND.NXT.
NEXT = {state: 2 if state >= State.CLOSE_WAIT else 1 for state in SYNCHRONIZED}
SENT = {state: 1 if state in (State.ESTABLISHED, State.CLOSE_WAIT) else 2 for state in SYNCHRONIZED}
ACKED = {state: 2 if state in (State.FIN_WAIT_2, State.TIME_WAIT) else 1 for state in SYNCHRONIZED}

each_state = pytest.mark.parametrize("state", SYNCHRONIZED, ids=lambda state: state.name)


@each_state
def test_reset_with_next_number_closes(state: State) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(NEXT[state], ACKED[state], RST)

    assert answers == []
    assert lab.connection.closed
    both_ended = state in (State.CLOSING, State.LAST_ACK, State.TIME_WAIT)
    assert lab.connection.reason is (None if both_ended else Reason.RESET)
    assert lab.connection.next_deadline() is None


@each_state
def test_reset_elsewhere_in_window_is_asked_back(state: State) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(NEXT[state] + 1, ACKED[state], RST)

    assert answers == [(SENT[state], NEXT[state], ACK, b"")]
    assert lab.connection.state is state


@each_state
@pytest.mark.parametrize("offset", [-1, -4000, 4000, 1 << 30])
def test_reset_out_of_window_is_ignored(state: State, offset: int) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(NEXT[state] + offset, ACKED[state], RST)

    assert answers == []
    assert lab.connection.state is state


@each_state
@pytest.mark.parametrize("offset", [0, 10, -1, 1 << 30])
@pytest.mark.parametrize("flags", [SYN, SYN | ACK, SYN | FIN])
def test_syn_is_asked_back(state: State, offset: int, flags: int) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(NEXT[state] + offset, ACKED[state], flags)

    assert answers == [(SENT[state], NEXT[state], ACK, b"")]
    assert lab.connection.state is state


@each_state
def test_segment_without_ack_is_dropped(state: State) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(NEXT[state], 0, 0, b"data")

    assert answers == []
    assert lab.delivered == b""


@each_state
@pytest.mark.parametrize("data", [b"", b"abc"])
def test_old_segment_is_answered_and_dropped(state: State, data: bytes) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(NEXT[state] - 4, ACKED[state], ACK, data)

    assert answers == [(SENT[state], NEXT[state], ACK, b"")]
    assert lab.delivered == b""


@each_state
def test_segment_behind_window_is_answered_and_dropped(state: State) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(NEXT[state] + 4001, ACKED[state], ACK, b"abc")

    assert answers == [(SENT[state], NEXT[state], ACK, b"")]


@each_state
@pytest.mark.parametrize("offset", [1, 1000, -100_000])
def test_ack_of_what_was_not_sent_is_answered_and_dropped(state: State, offset: int) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(NEXT[state], SENT[state] + offset, ACK, b"abc")

    assert answers == [(SENT[state], NEXT[state], ACK, b"")]
    assert lab.delivered == b""
    assert lab.connection.state is state


@each_state
def test_data_is_delivered_until_peer_has_closed(state: State) -> None:
    lab = Lab.in_state(state)

    lab.arrives(NEXT[state], ACKED[state], ACK, b"abc")

    may_receive = state in (State.ESTABLISHED, State.FIN_WAIT_1, State.FIN_WAIT_2)
    assert lab.delivered == (b"abc" if may_receive else b"")


@pytest.mark.parametrize(
    ("state", "ack", "after"),
    [
        (State.ESTABLISHED, 1, State.CLOSE_WAIT),
        (State.FIN_WAIT_1, 1, State.CLOSING),
        (State.FIN_WAIT_1, 2, State.TIME_WAIT),
        (State.FIN_WAIT_2, 2, State.TIME_WAIT),
        (State.SYN_RECEIVED, 1, State.CLOSE_WAIT),
    ],
)
def test_fin_with_data_moves_on_and_is_acknowledged(state: State, ack: int, after: State) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(1, ack, ACK | FIN, b"abc")

    assert lab.connection.state is after
    assert lab.connection.peer_closed
    assert lab.delivered == b"abc"
    assert answers[-1][1:3] == (5, ACK)


@pytest.mark.parametrize("state", [State.CLOSE_WAIT, State.CLOSING, State.LAST_ACK, State.TIME_WAIT])
def test_fin_again_is_answered(state: State) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(1, ACKED[state], ACK | FIN)

    assert answers == [(SENT[state], 2, ACK, b"")]
    assert lab.connection.state is state


@pytest.mark.parametrize(
    ("state", "after"),
    [
        (State.FIN_WAIT_1, State.FIN_WAIT_2),
        (State.CLOSING, State.TIME_WAIT),
        (State.LAST_ACK, State.CLOSED),
    ],
)
def test_ack_of_fin_moves_on(state: State, after: State) -> None:
    lab = Lab.in_state(state)

    answers = lab.arrives(NEXT[state], 2)

    assert answers == []
    assert lab.connection.state is after
    assert lab.connection.reason is None


def test_time_wait_ends_after_its_time() -> None:
    lab = Lab.in_state(State.TIME_WAIT)

    lab.wait(2 * SECOND - 1)
    assert lab.connection.state is State.TIME_WAIT
    lab.wait(1)

    assert lab.connection.closed
    assert lab.connection.reason is None


def test_time_wait_fin_again_begins_anew() -> None:
    lab = Lab.in_state(State.TIME_WAIT)
    lab.wait(SECOND)

    lab.arrives(1, 2, ACK | FIN)
    lab.wait(2 * SECOND - 1)

    assert lab.connection.state is State.TIME_WAIT


@pytest.mark.parametrize(
    ("syn", "replaced"),
    [
        (Segment((IRS + 2) & 0xFFFFFFFF, 0, SYN), True),
        (Segment((IRS + 90_000) & 0xFFFFFFFF, 0, SYN), True),
        (Segment((IRS + 1) & 0xFFFFFFFF, 0, SYN), False),
        (Segment((IRS + 2) & 0xFFFFFFFF, 0, SYN | ACK), False),
        (Segment((IRS + 2) & 0xFFFFFFFF, 0, ACK), False),
    ],
)
def test_time_wait_new_syn_may_replace_it(syn: Segment, replaced: bool) -> None:
    lab = Lab.in_state(State.TIME_WAIT)

    assert lab.connection.may_be_replaced(syn) is replaced


def test_established_new_syn_may_not_replace_it() -> None:
    lab = Lab.in_state(State.ESTABLISHED)

    assert not lab.connection.may_be_replaced(Segment((IRS + 2) & 0xFFFFFFFF, 0, SYN))


# ---- CLOSED: 3.10.7.1


@pytest.mark.parametrize(
    ("segment", "length", "answer"),
    [
        (Segment(10, 20, RST), 0, None),
        (Segment(10, 20, RST | ACK), 0, None),
        (Segment(10, 20, ACK), 5, Segment(20, 0, RST)),
        (Segment(10, 20, SYN | ACK), 0, Segment(20, 0, RST)),
        (Segment(10, 0, SYN), 0, Segment(0, 11, RST | ACK)),
        (Segment(0xFFFFFFFF, 0, SYN | FIN), 3, Segment(0, 4, RST | ACK)),
    ],
)
def test_segment_without_connection_is_answered(segment: Segment, length: int, answer: Segment | None) -> None:
    assert reset_for(segment, length) == answer


def test_closed_segment_is_ignored() -> None:
    lab = Lab.in_state(State.CLOSED)

    assert lab.arrives(1, 1, ACK, b"abc") == []
    assert lab.delivered == b""


# ---- SYN-SENT: 3.10.7.3


def test_syn_sent_syn_ack_establishes() -> None:
    lab = Lab.in_state(State.SYN_SENT)

    answers = lab.arrives(0, 1, SYN | ACK)

    assert lab.connection.state is State.ESTABLISHED
    assert answers == [(1, 1, ACK, b"")]


@pytest.mark.parametrize("ack", [0, 2, -5])
@pytest.mark.parametrize("flags", [SYN | ACK, ACK])
def test_syn_sent_wrong_ack_is_reset(ack: int, flags: int) -> None:
    lab = Lab.in_state(State.SYN_SENT)

    answers = lab.arrives(0, ack, flags)

    assert answers == [(ack & 0xFFFFFFFF, -1, RST, b"")]
    assert lab.connection.state is State.SYN_SENT


@pytest.mark.parametrize("ack", [0, 2])
def test_syn_sent_reset_with_wrong_ack_is_ignored(ack: int) -> None:
    lab = Lab.in_state(State.SYN_SENT)

    assert lab.arrives(0, ack, RST | ACK) == []
    assert lab.connection.state is State.SYN_SENT


def test_syn_sent_reset_without_ack_is_ignored() -> None:
    lab = Lab.in_state(State.SYN_SENT)

    assert lab.arrives(0, 0, RST) == []
    assert lab.connection.state is State.SYN_SENT


def test_syn_sent_reset_with_ack_refuses() -> None:
    lab = Lab.in_state(State.SYN_SENT)

    lab.arrives(0, 1, RST | ACK)

    assert lab.connection.closed
    assert lab.connection.reason is Reason.REFUSED


def test_syn_sent_ack_without_syn_is_dropped() -> None:
    lab = Lab.in_state(State.SYN_SENT)

    assert lab.arrives(0, 1, ACK) == []
    assert lab.connection.state is State.SYN_SENT


def test_syn_sent_syn_opens_both_at_once() -> None:
    lab = Lab.in_state(State.SYN_SENT)

    answers = lab.arrives(0, 0, SYN)
    assert not lab.connection.established
    assert answers == [(0, 1, SYN | ACK, b"")]
    lab.arrives(0, 1, SYN | ACK)

    assert lab.connection.state is State.ESTABLISHED


def test_syn_sent_data_waits_for_established() -> None:
    lab = Lab.in_state(State.SYN_SENT)

    assert lab.write(b"early") == []
    assert lab.close() == []
    answers = lab.arrives(0, 1, SYN | ACK)

    assert answers == [(1, 1, ACK | FIN, b"early")]
    assert lab.connection.state is State.FIN_WAIT_1


# ---- SYN-RECEIVED: 3.10.7.4


def test_syn_received_ack_establishes() -> None:
    lab = Lab.in_state(State.SYN_RECEIVED)

    assert lab.arrives(1, 1) == []
    assert lab.connection.state is State.ESTABLISHED


@pytest.mark.parametrize("ack", [0, 2, 1000])
def test_syn_received_wrong_ack_is_reset(ack: int) -> None:
    lab = Lab.in_state(State.SYN_RECEIVED)

    answers = lab.arrives(1, ack)

    assert answers == [(ack, -1, RST, b"")]
    assert lab.connection.state is State.SYN_RECEIVED


def test_syn_received_syn_again_is_answered_again() -> None:
    lab = Lab.in_state(State.SYN_RECEIVED)

    assert lab.arrives(0, 0, SYN) == [(0, 1, SYN | ACK, b"")]


def test_syn_received_reset_refuses() -> None:
    lab = Lab.in_state(State.SYN_RECEIVED)

    lab.arrives(1, 0, RST)

    assert lab.connection.closed
    assert lab.connection.reason is Reason.REFUSED


# ---- HELD


def test_held_answers_nothing_until_establish() -> None:
    lab = Lab.in_state(State.HELD)

    assert lab.arrives(0, 0, SYN) == []
    lab.connection.establish()
    lab.transmit()

    assert lab.answers() == [(0, 1, SYN | ACK, b"")]


def test_held_refuse_is_a_reset() -> None:
    lab = Lab.in_state(State.HELD)

    lab.connection.refuse()
    lab.transmit()

    assert lab.answers() == [(-ISS, 1, RST | ACK, b"")]
    assert lab.connection.closed
    assert lab.connection.reason is Reason.ABORTED


def test_held_reset_closes() -> None:
    lab = Lab.in_state(State.HELD)

    lab.arrives(1, 0, RST)
    lab.connection.establish()

    assert lab.connection.closed
    assert lab.transmit() and lab.sent == []


def test_held_other_syn_counts() -> None:
    lab = Lab.in_state(State.HELD)

    lab.arrives(700, 0, SYN)
    lab.connection.establish()
    lab.transmit()

    assert lab.answers() == [(0, 701, SYN | ACK, b"")]


# ---- the owner's calls: 3.10.4, 3.10.5


@pytest.mark.parametrize(
    ("state", "after"),
    [(State.ESTABLISHED, State.FIN_WAIT_1), (State.CLOSE_WAIT, State.LAST_ACK)],
)
def test_close_sends_fin_behind_data(state: State, after: State) -> None:
    lab = Lab.in_state(state)
    lab.connection.write(b"last")

    answers = lab.close()

    assert lab.connection.state is after
    assert answers == [(1, NEXT[state], ACK | FIN, b"last")]
    assert lab.connection.write(b"more") == 0


@pytest.mark.parametrize("state", [State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.TIME_WAIT, State.CLOSED])
def test_close_again_does_nothing(state: State) -> None:
    lab = Lab.in_state(state)

    assert lab.close() == []
    assert lab.connection.state is state


@each_state
def test_abort_is_a_reset(state: State) -> None:
    lab = Lab.in_state(state)

    lab.connection.abort()
    lab.transmit()

    expected = [] if state is State.TIME_WAIT else [(SENT[state], NEXT[state], RST | ACK, b"")]
    assert lab.answers() == expected
    assert lab.connection.closed
    assert lab.connection.reason is Reason.ABORTED


def test_abort_in_syn_sent_says_nothing() -> None:
    lab = Lab.in_state(State.SYN_SENT)
    lab.sent.clear()

    lab.connection.abort()

    assert lab.transmit() and lab.sent == []
    assert lab.connection.closed


def test_challenges_are_limited_in_number() -> None:
    lab = Lab.in_state(State.ESTABLISHED)

    for _ in range(100):
        lab.arrives(2, 1, RST)
    within_a_second = len(lab.sent)
    lab.wait(SECOND)
    lab.arrives(2, 1, RST)

    assert within_a_second == 10
    assert len(lab.sent) == 11
