# SPDX-License-Identifier: GPL-2.0-or-later
"""NetPort: links, flow control, the cable."""

from __future__ import annotations

import pytest

from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from asyncemu.net import Filled, Frame, Frames, NetPort, connect, disconnect
from asyncemu.testing.memory_wire import Wire
from asyncemu.testing.waiting import until


class Answering(NetPort):
    """Answers each frame from within ``receive``, and again when it may."""

    def __init__(self, context: AioContext) -> None:
        super().__init__("answering", context)
        self.received: list[bytes] = []
        self.unsent: list[Frame] = []

    def receive(self, frames: Frames) -> int:
        self.received += [frame.tobytes() for frame in frames]
        self.unsent += [Frame.of(b"answer to " + frame.tobytes()) for frame in frames]
        self.writable()
        return len(frames)

    def writable(self) -> None:
        del self.unsent[: self.send(list(self.unsent))]


class Scratch(NetPort):
    """Lends its own memory to who sends."""

    fills_directly = True

    def __init__(self, context: AioContext, size: int) -> None:
        super().__init__("scratch", context)
        self.memory = bytearray(size)
        self.filled: Filled | None = None

    def receive_into(self, capacity: int, fill: object) -> bool:
        if capacity > len(self.memory):
            return False
        self.filled = fill(Buffers((memoryview(self.memory),)))  # type: ignore[operator]
        return True


def pair(context: AioContext) -> tuple[Wire, Wire]:
    one, other = Wire(context, "one"), Wire(context, "other")
    connect(one, other)
    return one, other


def fill_with(data: bytes) -> object:
    def fill(views: Buffers) -> Filled:
        views.write(data)
        return Filled(len(data))

    return fill


async def test_send_hands_frames_to_the_peer_in_order(context: AioContext) -> None:
    one, other = pair(context)

    assert one.send([Frame.of(b"a"), Frame.of(b"b", b"c")]) == 2

    assert other.frames == [b"a", b"bc"]
    assert one.sent == 2


async def test_send_to_a_full_peer_says_how_many_were_taken_and_is_told_of_room(context: AioContext) -> None:
    one, other = pair(context)
    other.room = 1
    one.feed(b"a", b"b", b"c")
    assert other.frames == [b"a"]

    other.accept()

    assert other.frames == [b"a", b"b", b"c"]


async def test_ready_without_a_refusal_calls_nobody(context: AioContext) -> None:
    one, other = pair(context)
    one.unsent.append(Frame.of(b"not asked for"))

    other.ready()

    assert other.frames == []


async def test_send_without_a_peer_loses_frames_and_counts_them(context: AioContext) -> None:
    alone = Wire(context)

    assert alone.send([Frame.of(b"a"), Frame.of(b"b")]) == 2
    assert alone.lost == 2


@pytest.mark.parametrize("unplugged", [0, 1])
async def test_send_with_a_cable_out_loses_frames(context: AioContext, unplugged: int) -> None:
    ports = pair(context)
    ports[unplugged].set_link(False)

    assert ports[0].send([Frame.of(b"a")]) == 1

    assert ports[1].frames == []
    assert ports[0].lost == 1


async def test_set_link_tells_both_ends_once(context: AioContext) -> None:
    one, other = pair(context)

    one.set_link(False)
    one.set_link(False)
    one.set_link(True)

    assert one.carriers == other.carriers == [True, False, True]


async def test_set_link_lets_go_of_who_was_refused(context: AioContext) -> None:
    one, other = pair(context)
    other.room = 0
    one.feed(b"a")

    other.set_link(False)

    assert not one.unsent
    assert one.lost == 1


async def test_send_from_within_the_receiver_goes_out_when_the_peer_has_returned(context: AioContext) -> None:
    one, other = Answering(context), Answering(context)
    connect(one, other)
    one.unsent = [Frame.of(b"x")]

    one.writable()

    # The answer to the answer was refused: it waits for the next round, and so on; nothing is nested, nothing is lost.
    assert other.received == [b"x"]
    assert one.received == [b"answer to x"]
    await until(lambda: len(other.received) >= 2)
    disconnect(one)
    assert other.received[:2] == [b"x", b"answer to answer to x"]


async def test_send_into_writes_into_the_memory_of_the_peer(context: AioContext) -> None:
    wire, scratch = Wire(context), Scratch(context, 100)
    connect(wire, scratch)

    assert wire.send_into(60, fill_with(b"frame"))  # type: ignore[arg-type]

    assert bytes(scratch.memory[:5]) == b"frame"
    assert scratch.filled == Filled(5)


async def test_send_into_without_room_calls_nothing(context: AioContext) -> None:
    wire, scratch = Wire(context), Scratch(context, 10)
    connect(wire, scratch)

    assert not wire.send_into(60, fill_with(b"frame"))  # type: ignore[arg-type]

    assert scratch.filled is None


async def test_send_into_a_port_that_lends_nothing_sends_a_frame(context: AioContext) -> None:
    one, other = pair(context)

    assert one.send_into(60, fill_with(b"frame"))  # type: ignore[arg-type]

    assert other.frames == [b"frame"]


async def test_send_into_a_full_port_holds_one_frame_and_refuses_the_next(context: AioContext) -> None:
    one, other = pair(context)
    other.room = 0
    assert one.send_into(60, fill_with(b"first"))  # type: ignore[arg-type]
    assert not one.send_into(60, fill_with(b"second"))  # type: ignore[arg-type]
    assert one.send([Frame.of(b"third")]) == 0

    other.accept()

    assert other.frames == [b"first"]
    assert one.send_into(60, fill_with(b"second"))  # type: ignore[arg-type]
    assert other.frames == [b"first", b"second"]


async def test_connect_a_port_that_has_a_peer_is_refused(context: AioContext) -> None:
    one, _ = pair(context)

    with pytest.raises(ValueError, match="one is connected to other already"):
        connect(one, Wire(context, "third"))


async def test_connect_ports_of_different_homes_is_refused(context: AioContext) -> None:
    elsewhere = AioContext.__new__(AioContext)
    elsewhere.name = "elsewhere"
    third = Wire(context, "third")
    third.context = elsewhere

    with pytest.raises(ValueError, match="one lives in test, third in elsewhere"):
        connect(Wire(context, "one"), third)


async def test_disconnect_tells_both_ends(context: AioContext) -> None:
    one, other = pair(context)

    disconnect(other)
    disconnect(other)

    assert one.peer is None
    assert one.carriers == other.carriers == [True, False]
