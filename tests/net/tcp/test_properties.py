# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a peer sends, in whatever state: nothing is raised, memory is bounded, and what is sent makes sense."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.memory.buffers import Buffers
from asyncemu.net.tcp import Segment, State, TcpSettings
from asyncemu.net.tcp.byte_queue import ByteQueue
from asyncemu.net.tcp.receiver import MAX_BLOCKS
from asyncemu.net.tcp.segment import ACK, RST, SYN
from asyncemu.net.tcp.sender import MAX_RANGES
from asyncemu.net.tcp.sequence import is_before, unwrap
from tests.net.tcp.harness import IRS, ISS, Lab

numbers = st.integers(0, 0xFFFFFFFF)
near_irs = st.one_of(st.integers(-3, 5000).map(lambda offset: (IRS + offset) & 0xFFFFFFFF), numbers)
near_iss = st.one_of(st.integers(-3, 9000).map(lambda offset: (ISS + offset) & 0xFFFFFFFF), numbers)
flags = st.one_of(st.just(ACK), st.integers(0, 63))
segments = st.builds(
    Segment,
    near_irs,
    near_iss,
    flags,
    st.integers(0, 65535),
    st.none() | st.integers(0, 65535),
    st.none() | st.integers(0, 255),
    st.booleans(),
    st.none() | st.tuples(st.integers(0, 3) | numbers, numbers),
    st.lists(st.tuples(near_iss, near_iss), max_size=4).map(tuple),
)
arrivals = st.tuples(st.just("segment"), segments, st.binary(max_size=30) | st.integers(0, 3000).map(bytes))
steps = st.one_of(
    arrivals,
    arrivals,
    st.tuples(st.just("write"), st.integers(0, 3000)),
    st.tuples(st.just("wait"), st.integers(0, 10**11)),
    st.tuples(st.just("read"), st.booleans()),
    st.tuples(st.just("close")),
    st.tuples(st.just("icmp"), near_iss, st.integers(0, 2000)),
    st.tuples(st.just("link"), st.booleans()),
)
each_settings = st.builds(
    TcpSettings,
    mss=st.sampled_from([100, 1460]),
    receive_buffer=st.sampled_from([1, 500, 4000, 100_000]),
    send_buffer=st.sampled_from([1, 500, 4000]),
    window_scaling=st.booleans(),
    timestamps=st.booleans(),
    sack=st.booleans(),
)


def take(lab: Lab, step: tuple[object, ...]) -> None:
    """One step of a history."""
    connection = lab.connection
    match step:
        case ("segment", Segment() as segment, bytes(data)):
            lent = connection.segment_arrives(segment, Buffers.of(data), lab.now)
            if lent:
                connection.consumed(lent.nbytes // 2)
        case ("write", int(length)):
            connection.write(bytes(length))
        case ("wait", int(ns)):
            lab.wait(ns)
        case ("read", bool(everything)):
            waiting = connection.received()
            connection.consumed(waiting.nbytes if everything else waiting.nbytes // 2)
        case ("close",):
            connection.close()
        case ("icmp", int(sequence), int(mss)):
            connection.unreachable(sequence, hard=False)
            connection.packet_too_big(sequence, mss)
        case ("link", bool(full)):
            lab.link_full = full


def check(lab: Lab) -> None:
    """What holds after each step."""
    connection = lab.connection
    sender, receiver = connection._sender, connection._receiver
    assert receiver.queue.length + sum(len(block) for _, block in receiver._blocks) <= lab.settings.receive_buffer
    assert len(receiver._blocks) <= MAX_BLOCKS
    assert len(sender._sacked) <= MAX_RANGES
    assert sender.queue.length <= lab.settings.send_buffer
    deadline = connection.next_deadline()
    if connection.closed:
        assert deadline is None
        return
    assert sender.una <= sender.next <= sender.max <= sender.end + sender.closing or sender.una == sender.iss
    if connection.established and sender.outstanding and connection.state is not State.TIME_WAIT:
        # Or nothing would ever send it again.
        assert deadline is not None
    for segment, payload in lab.sent:
        assert 0 <= segment.window <= 65535
        assert 0 <= segment.sequence <= 0xFFFFFFFF
        assert len(payload) <= max(connection.segment_size, lab.settings.mss)
        assert segment.flags & (ACK | SYN | RST)
    lab.sent.clear()


@pytest.mark.slow
@settings(max_examples=150)
@given(
    st.sampled_from([State.SYN_SENT, State.HELD, State.SYN_RECEIVED, State.ESTABLISHED]),
    each_settings,
    st.lists(steps, max_size=25),
)
def test_any_history_raises_nothing_and_is_bounded(
    state: State, each: TcpSettings, history: list[tuple[object, ...]]
) -> None:
    lab = Lab.in_state(state, each)

    for step in history:
        take(lab, step)
        lab.transmit()
        check(lab)


@given(st.sampled_from(list(State)), segments, st.binary(max_size=2000))
def test_any_segment_in_any_state_raises_nothing(state: State, segment: Segment, data: bytes) -> None:
    lab = Lab.in_state(state)

    take(lab, ("segment", segment, data))
    lab.transmit()

    check(lab)


@given(st.integers(-(1 << 40), 1 << 40), st.integers(-(1 << 31), (1 << 31) - 1))
def test_unwrap_finds_the_nearest(near: int, offset: int) -> None:
    assert unwrap((near + offset) & 0xFFFFFFFF, near) == near + offset


@given(numbers, st.integers(1, (1 << 31) - 1))
def test_is_before_over_the_wrap(number: int, distance: int) -> None:
    later = (number + distance) & 0xFFFFFFFF

    assert is_before(number, later)
    assert not is_before(later, number)
    assert not is_before(number, number)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(0, 9000)),
            st.tuples(st.just("commit"), st.integers(0, 70_000)),
            st.tuples(st.just("drop"), st.integers(0, 20_000)),
        )
    )
)
def test_byte_queue_is_like_bytes(operations: list[tuple[str, int]]) -> None:
    queue = ByteQueue(100_000)
    model = b""
    for count, (operation, length) in enumerate(operations):
        if operation == "append":
            data = bytes([count % 251]) * min(length, queue.room)
            queue.append(data if length % 2 else bytearray(data))
            model += data
        elif operation == "commit":
            view = queue.reserve()
            part = bytes([count % 251]) * min(length, len(view))
            view[: len(part)] = part
            queue.commit(len(part))
            model += part
        else:
            length = min(length, len(model))
            queue.drop(length)
            model = model[length:]

        assert queue.length == len(model)
        assert queue.views(1000).tobytes() == model
        middle = len(model) // 3
        if model:
            assert queue.slice(middle, len(model) - 2 * middle).tobytes() == model[middle : len(model) - middle]
            assert queue.slice(0, len(queue.views(1)[0])) == queue.views(1)
