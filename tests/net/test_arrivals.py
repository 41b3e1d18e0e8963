# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames on their way from a descriptor into a port."""

from __future__ import annotations

from collections import deque

import pytest

from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from asyncemu.net import Fill, Frame, NetPort, connect
from asyncemu.net.arrivals import BUDGET, USUAL_FRAME, Arrivals
from asyncemu.net.frame import DATA_VALID, MAX_FRAME, PLAIN, VnetHeader
from asyncemu.net.packets.errors import Malformed
from asyncemu.testing.memory_wire import Wire

VALID = VnetHeader(DATA_VALID)


class Source(NetPort):
    """The descriptor is a list."""

    def __init__(self, context: AioContext) -> None:
        super().__init__("source", context)
        self.data: deque[bytes | Malformed] = deque()
        self.arrivals = Arrivals(self, self._read)

    def _read(self, views: Buffers) -> tuple[int, VnetHeader] | None:
        if not self.data:
            return None
        data = self.data.popleft()
        if isinstance(data, Malformed):
            raise data
        return views.write(data), VALID


class Direct(Wire):
    """Has views of its own memory, as a guest."""

    fills_directly = True
    direct = 0

    def receive_into(self, capacity: int, fill: Fill) -> bool:
        if self.room == 0:
            return False
        view = memoryview(bytearray(capacity + 100))
        filled = fill(Buffers((view[:7], view[7:])))
        if filled is not None:
            self.direct += 1
            self.received.append(Frame.of(view[: filled.length].tobytes(), vnet=filled.vnet))
        return True


@pytest.fixture(params=[Wire, Direct])
def ends(request: pytest.FixtureRequest, context: AioContext) -> tuple[Source, Wire]:
    source, wire = Source(context), request.param(context)
    connect(source, wire)
    return source, wire


@pytest.mark.parametrize("length", [USUAL_FRAME + 1, USUAL_FRAME + 101, MAX_FRAME])
async def test_long_frames_pass_whole(ends: tuple[Source, Wire], length: int) -> None:
    source, wire = ends
    data = bytes(range(256)) * (length // 256) + bytes(length % 256)
    source.data += [data]

    assert source.arrivals.take()

    assert [(frame.tobytes(), frame.vnet) for frame in wire.received] == [(data, VALID)]


async def test_usual_frames_are_written_where_they_belong(context: AioContext) -> None:
    source, direct = Source(context), Direct(context)
    connect(source, direct)
    source.data += [b"a" * 60, b"b" * USUAL_FRAME]

    assert source.arrivals.take()

    assert (direct.direct, direct.frames) == (2, [b"a" * 60, b"b" * USUAL_FRAME])


async def test_frame_too_long_and_malformed_ones_are_dropped(ends: tuple[Source, Wire]) -> None:
    source, wire = ends
    source.data += [bytes(MAX_FRAME + 1), Malformed("bad"), bytes(USUAL_FRAME + 200)]

    assert source.arrivals.take()

    assert source.arrivals.dropped == 2
    assert [frame.nbytes for frame in wire.received] == [USUAL_FRAME + 200]


async def test_long_frame_waits_for_a_full_peer_and_is_not_written_over(context: AioContext) -> None:
    source, wire = Source(context), Wire(context)
    connect(source, wire)
    first, second = b"1" * 3000, b"2" * 3000
    source.data += [first, second]
    wire.room = 0

    refused = [source.arrivals.take() for _ in range(2)]
    wire.accept()

    assert refused == [False, False]
    assert source.arrivals.take()
    assert wire.frames == [first, second]


async def test_others_have_their_turn(context: AioContext) -> None:
    source, wire = Source(context), Wire(context)
    connect(source, wire)
    source.data += [b"x" * 60] * (BUDGET + 1)

    assert source.arrivals.take()

    assert len(wire.received) == BUDGET
    assert wire.received[0].vnet is not PLAIN
