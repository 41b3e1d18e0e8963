# SPDX-License-Identifier: GPL-2.0-or-later
"""Asking whether the peer is still there. RFC 9293, 3.8.4."""

from __future__ import annotations

import pytest

from asyncemu.net.tcp import State
from asyncemu.net.tcp.segment import ACK
from tests.net.tcp.harness import Lab

OPEN = [State.ESTABLISHED, State.CLOSE_WAIT, State.FIN_WAIT_2]


@pytest.mark.parametrize("state", OPEN)
def test_question_is_an_ack_with_the_number_before_the_next(state: State) -> None:
    lab = Lab.in_state(state)
    following = lab.connection._sender.acceptable

    lab.connection.ask(lab.now)
    lab.transmit()

    ((segment, data),) = lab.sent
    assert (segment.sequence + 1) & 0xFFFF_FFFF == following & 0xFFFF_FFFF
    assert (segment.flags, data) == (ACK, b"")


def test_question_is_answered_at_once_by_the_other_end() -> None:
    lab = Lab.in_state(State.ESTABLISHED)

    assert lab.arrives(0, 1) == [(1, 1, ACK, b"")]


def test_question_while_something_is_on_its_way_is_none() -> None:
    lab = Lab.in_state(State.ESTABLISHED)
    lab.write(b"data")

    lab.connection.ask(lab.now)
    lab.transmit()

    assert lab.answers() == [(1, 1, ACK, b"data")]


@pytest.mark.parametrize("state", [State.HELD, State.SYN_SENT, State.SYN_RECEIVED, State.CLOSED])
def test_question_without_a_connection_is_none(state: State) -> None:
    lab = Lab.in_state(state)
    lab.sent.clear()

    lab.connection.ask(lab.now)
    lab.transmit()

    assert lab.sent == []


def test_question_has_timestamps_where_they_are_used() -> None:
    lab = Lab(Lab().settings._replace(timestamps=True))
    lab.accept(timestamps=(7, 0))
    lab.connection.establish()
    lab.transmit()
    lab.arrives(1, 1, timestamps=(8, 0))
    lab.sent.clear()

    lab.connection.ask(lab.now)
    lab.transmit()

    assert lab.sent[0][0].timestamps == (lab.connection._timestamp(lab.now), 8)
