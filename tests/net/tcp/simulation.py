# SPDX-License-Identifier: GPL-2.0-or-later
"""Two connections on a wire that loses, reorders, duplicates and delays, with owners that stall; all from one seed.

Time is a number: it goes on to the next thing that happens. A run ends when both sides are closed, or fails after an
hour of its own time.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from itertools import count

from asyncemu.memory.buffers import Buffers
from asyncemu.net.tcp import Segment, TcpConnection, TcpSettings, reset_for
from asyncemu.net.tcp.segment import SYN

MS = 1_000_000
HOUR = 3600 * 1000 * MS
MAX_EVENTS = 400_000


@dataclass(frozen=True)
class Weather:
    """What the wire does. Probabilities, and ns."""

    loss: float = 0.0
    duplication: float = 0.0
    delay: int = MS
    jitter: int = 0
    #: That the link takes no segment when asked.
    refusal: float = 0.0

    @classmethod
    def of(cls, dice: random.Random) -> Weather:
        """One of many."""
        return cls(
            loss=dice.choice((0, 0, 0.01, 0.05, 0.2)),
            duplication=dice.choice((0, 0, 0.05, 0.2)),
            delay=dice.choice((0, MS // 10, MS, 50 * MS)),
            jitter=dice.choice((0, 0, MS, 20 * MS)),
            refusal=dice.choice((0, 0, 0.3)),
        )


def settings_of(dice: random.Random) -> TcpSettings:
    """Small and large buffers, with and without each option."""
    return TcpSettings(
        mss=dice.choice((100, 536, 1460, 8960)),
        receive_buffer=dice.choice((50, 1000, 5000, 65535, 256 << 10, 1 << 20)),
        send_buffer=dice.choice((100, 5000, 65536, 256 << 10)),
        window_scaling=dice.random() < 0.7,
        timestamps=dice.random() < 0.6,
        sack=dice.random() < 0.6,
        # Long enough for a peer whose FIN is lost again and again.
        time_wait=300 * 1000 * MS,
    )


@dataclass
class Side:
    """A connection and its owner: what it sends, and has got."""

    name: str
    settings: TcpSettings
    iss: int
    data: bytearray
    #: Does it close after its data, or only when the peer has closed?
    closes_first: bool
    #: Probability that it does not read, when it may.
    stall: float
    max_segment: int = 0
    connection: TcpConnection | None = None
    written: int = 0
    got: bytearray = field(default_factory=bytearray)
    wakes_at: int | None = None
    largest_held: int = 0


class Simulation:
    """One run."""

    def __init__(self, seed: int, weather: Weather | None = None, size: int | None = None) -> None:
        dice = self.dice = random.Random(seed)
        self.weather = weather or Weather.of(dice)
        self.now = dice.randrange(1 << 60)
        self.started = self.now
        self._order = count()
        self._wire: list[tuple[int, int, Side, Segment, bytes]] = []
        self.guest = self._side("guest", size)
        self.host = self._side("host", size)
        if size is None:
            # Not more than some hundred segments, or it takes too long.
            for side in (self.guest, self.host):
                peer = self.other(side).settings
                del side.data[150 * min(side.settings.mss, side.settings.send_buffer, peer.mss, peer.receive_buffer) :]
        self.refuses = dice.random() < 0.02
        self.opens_at: int | None = None
        self.simultaneous = dice.random() < 0.1
        self.events = 0

    def _side(self, name: str, size: int | None) -> Side:
        dice = self.dice
        length = dice.choice((0, 1, 1000, 20_000, 100_000)) if size is None else size
        return Side(
            name,
            settings_of(dice) if size is None else TcpSettings(),
            # Numbers wrap in many runs.
            dice.choice((dice.randrange(1 << 32), 0xFFFF_FFFF, 0xFFFF_F000, 0)),
            bytearray(dice.randbytes(length)),
            closes_first=dice.random() < 0.7,
            stall=dice.choice((0, 0, 0.5, 0.9)),
            max_segment=dice.choice((0, 0, 60_000)),
        )

    def other(self, side: Side) -> Side:
        """The peer."""
        return self.host if side is self.guest else self.guest

    # ---- running

    def run(self) -> None:
        """Until both are closed. AssertionError: they never are."""
        if not self.guest.closes_first and not self.host.closes_first:
            # Somebody has to begin.
            self.guest.closes_first = True
        self.guest.connection = TcpConnection.connect(self.guest.iss, self.guest.settings)
        self.guest.connection.max_segment = self.guest.max_segment
        self._serve(self.guest)
        if self.simultaneous:
            self.host.connection = TcpConnection.connect(self.host.iss, self.host.settings)
            self.host.connection.max_segment = self.host.max_segment
            self._serve(self.host)
        while self._step():
            pass

    def _step(self) -> bool:
        times = [self._wire[0][0]] if self._wire else []
        for side in (self.guest, self.host):
            if side.wakes_at is not None:
                times.append(side.wakes_at)
            if side.connection is not None:
                deadline = side.connection.next_deadline()
                if deadline is not None:
                    times.append(deadline)
        if self.opens_at is not None:
            times.append(self.opens_at)
        if not times:
            return False
        self.now = max(self.now, min(times))
        self.events += 1
        assert self.now - self.started < HOUR, "they talk forever"
        assert self.events < MAX_EVENTS, "they talk too much"
        if self.opens_at is not None and self.opens_at <= self.now:
            self.opens_at = None
            assert self.host.connection is not None
            if self.refuses:
                self.host.connection.refuse()
            else:
                self.host.connection.establish()
            self._serve(self.host)
        while self._wire and self._wire[0][0] <= self.now:
            _, _, side, segment, payload = heapq.heappop(self._wire)
            self._arrives(side, segment, payload)
        for side in (self.guest, self.host):
            if side.connection is None:
                continue
            deadline = side.connection.next_deadline()
            due = deadline is not None and deadline <= self.now
            if due:
                side.connection.on_deadline(self.now)
            if due or (side.wakes_at is not None and side.wakes_at <= self.now):
                self._serve(side)
        return True

    def _arrives(self, side: Side, segment: Segment, payload: bytes) -> None:
        connection = side.connection
        if connection is None and segment.flags == SYN:
            connection = side.connection = TcpConnection.accept(segment, self.now, side.iss, side.settings)
            connection.max_segment = side.max_segment
            self.opens_at = self.now + self.dice.choice((0, MS, 300 * MS))
        if connection is None or connection.closed:
            answer = reset_for(segment, len(payload))
            if answer is not None:
                self._send(side, answer, Buffers())
            return
        # What is lent is overwritten afterwards, as in a guest's ring.
        memory = bytearray(payload)
        data = connection.segment_arrives(segment, Buffers.of(memory), self.now)
        if data:
            taken = 0 if self._stalls(side) else self.dice.choice((data.nbytes, self.dice.randint(0, data.nbytes)))
            side.got += data.split(taken)[0].tobytes()
            connection.consumed(taken)
        memory[:] = bytes(len(memory))
        self._serve(side)

    def _stalls(self, side: Side) -> bool:
        return self.dice.random() < side.stall

    def _serve(self, side: Side) -> None:
        """What an owner does after everything: read, write, close, transmit; and come back later when it stalls."""
        connection = side.connection
        assert connection is not None
        side.wakes_at = None
        waiting = connection.received()
        if waiting:
            if self._stalls(side):
                side.wakes_at = self.now + self.dice.choice((MS, 100 * MS, 3000 * MS))
            else:
                taken = self.dice.randint(1, waiting.nbytes)
                side.got += waiting.split(taken)[0].tobytes()
                connection.consumed(taken)
                if taken < waiting.nbytes:
                    side.wakes_at = self.now
        while side.written < len(side.data) and connection.room:
            if self.dice.random() < 0.5:
                length = min(self.dice.choice((1, 700, 40_000)), len(side.data) - side.written)
                side.written += connection.write(memoryview(side.data)[side.written : side.written + length])
            else:
                view = connection.reserve()
                part = side.data[side.written : side.written + len(view)]
                view[: len(part)] = part
                connection.commit(len(part))
                side.written += len(part)
        if side.written == len(side.data) and (side.closes_first or connection.peer_closed):
            connection.close()
        refused = not connection.transmit(lambda segment, payload: self._emit(side, segment, payload), self.now)
        if refused:
            side.wakes_at = self.now + MS
        side.largest_held = max(side.largest_held, connection._receiver.queue.length)

    # ---- the wire

    def _emit(self, side: Side, segment: Segment, payload: Buffers) -> bool:
        if self.dice.random() < self.weather.refusal:
            return False
        self._send(side, segment, payload)
        return True

    def _send(self, side: Side, segment: Segment, payload: Buffers) -> None:
        weather, dice = self.weather, self.dice
        copies = 1 + (dice.random() < weather.duplication)
        for _ in range(copies):
            if dice.random() < weather.loss:
                continue
            arrives = self.now + weather.delay + (dice.randrange(weather.jitter) if weather.jitter else 0)
            heapq.heappush(self._wire, (arrives, next(self._order), self.other(side), segment, payload.tobytes()))

    # ---- what must hold

    def check(self) -> None:
        """All bytes have arrived, in order, and both ends are closed."""
        guest, host = self.guest, self.host
        assert guest.connection is not None and host.connection is not None
        assert guest.connection.closed
        assert host.connection.closed
        if self.refuses and not self.simultaneous:
            return
        for side in (guest, host):
            assert side.connection is not None
            assert side.connection.reason is None, (side.name, side.connection.reason)
            assert side.largest_held <= side.settings.receive_buffer
            assert side.got == self.other(side).data, side.name
