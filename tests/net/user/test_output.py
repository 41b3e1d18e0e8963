# SPDX-License-Identifier: GPL-2.0-or-later
"""Who gets his turn when the guest has room."""

from __future__ import annotations

import asyncio

from asyncemu.loop import AioContext
from asyncemu.net import Fill, Frame, Frames
from asyncemu.net.user.output import Output

FRAME = Frame.of(bytes(60))


class Guest:
    """Takes ``room`` frames."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken: list[bytes] = []
        self.told = 0

    def send(self, frames: Frames) -> int:
        taken = min(self.room, len(frames))
        self.room -= taken
        self.taken += [each.tobytes() for each in frames[:taken]]
        return taken

    def send_into(self, capacity: int, fill: Fill) -> bool:
        return False

    def ready(self) -> None:
        self.told += 1


class Relay:
    """Has ``count`` frames."""

    def __init__(self, output: Output, name: bytes, count: int) -> None:
        self.output = output
        self.name = name
        self.count = count

    def on_room(self) -> bool:
        while self.count:
            if not self.output.send(Frame.of(self.name)):
                return False
            self.count -= 1
        return True


async def test_relays_take_turns(context: AioContext) -> None:
    guest = Guest(0)
    output = Output(context, guest)
    for name in (b"a", b"b"):
        output.wait(Relay(output, name, 4))

    for _ in range(4):
        guest.room = 2
        output.writable()

    assert guest.taken == [b"a", b"a", b"b", b"b"] * 2


async def test_answers_go_before_relays(context: AioContext) -> None:
    guest = Guest(0)
    output = Output(context, guest)
    output.wait(Relay(output, b"data", 1))
    output.answer(Frame.of(b"answer"))
    guest.room = 2
    output.writable()

    assert guest.taken == [b"answer", b"data"]
    assert output.is_free


async def test_relay_does_not_overtake_answers_that_wait(context: AioContext) -> None:
    guest = Guest(0)
    output = Output(context, guest)
    output.answer(FRAME)
    guest.room = 1

    assert not output.send(FRAME)


async def test_guest_that_sends_while_it_receives_is_told_later(context: AioContext) -> None:
    class Nested(Guest):
        def send(self, frames: Frames) -> int:
            self.refused = output.refuses()
            return super().send(frames)

    guest = Nested(1)
    output = Output(context, guest)
    output.send(FRAME)
    before = guest.told
    await asyncio.sleep(0)

    assert (guest.refused, before, guest.told) == (True, 0, 1)
    assert not output.refuses()


async def test_answer_from_within_another_frame_follows_by_itself(context: AioContext) -> None:
    class Answering(Guest):
        def send(self, frames: Frames) -> int:
            if not self.taken:
                output.answer(Frame.of(b"late"))
            return super().send(frames)

    guest = Answering(2)
    output = Output(context, guest)
    output.send(Frame.of(b"first"))
    await asyncio.sleep(0)

    assert guest.taken == [b"first", b"late"]
