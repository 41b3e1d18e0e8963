# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection in a state of the test's choice, and its peer played by hand. All numbers are counted from the SYNs."""

from __future__ import annotations

from typing import Any

from asyncemu.memory.buffers import Buffers
from asyncemu.net.tcp import Segment, State, TcpConnection, TcpSettings
from asyncemu.net.tcp.segment import ACK, FIN, SYN

MS = 1_000_000
SECOND = 1_000_000_000
#: Both near the end, so that they wrap in each test.
ISS = 0xFFFF_FFF0
IRS = 0xFFFF_FFFA
#: Without options, so that numbers are easy to read.
PLAIN = TcpSettings(mss=1000, receive_buffer=4000, send_buffer=8000, window_scaling=False, timestamps=False, sack=False)


class Lab:
    """One connection, and what it has sent and delivered."""

    def __init__(self, settings: TcpSettings = PLAIN, window: int = 5000) -> None:
        self.settings = settings
        self.now = 5 * SECOND
        self.window = window
        self.link_full = False
        self.sent: list[tuple[Segment, bytes]] = []
        self.delivered = b""
        #: Does the owner take what comes?
        self.takes = True
        self.connection: TcpConnection

    # ---- opening

    @classmethod
    def in_state(cls, state: State, settings: TcpSettings = PLAIN, window: int = 5000) -> Lab:
        """A connection that came to this state without loss; it sent nothing but what was needed for that."""
        lab = cls(settings, window)
        if state is State.SYN_SENT:
            lab.connect()
            return lab
        lab.accept()
        if state is State.HELD:
            return lab
        lab.connection.establish()
        lab.transmit()
        if state is State.SYN_RECEIVED:
            return lab
        lab.arrives(1, 1)
        if state in (State.CLOSE_WAIT, State.LAST_ACK):
            lab.arrives(1, 1, ACK | FIN)
        if state in (State.FIN_WAIT_1, State.FIN_WAIT_2, State.CLOSING, State.TIME_WAIT, State.LAST_ACK):
            lab.connection.close()
            lab.transmit()
        if state is State.FIN_WAIT_2:
            lab.arrives(1, 2)
        if state is State.CLOSING:
            lab.arrives(1, 1, ACK | FIN)
        if state is State.TIME_WAIT:
            lab.arrives(1, 2, ACK | FIN)
        if state is State.CLOSED:
            lab.connection.abort()
            lab.transmit()
        assert lab.connection.state is state
        lab.sent.clear()
        return lab

    def connect(self) -> None:
        """An active open; the SYN is in ``sent``."""
        self.connection = TcpConnection.connect(ISS, self.settings)
        self.transmit()

    def accept(self, **options: Any) -> None:
        """A passive open; the answer to the SYN is held."""
        syn = Segment(IRS, 0, SYN, self.window, mss=1000)._replace(**options)
        self.connection = TcpConnection.accept(syn, self.now, ISS, self.settings)

    # ---- the peer, and the owner

    def arrives(
        self, sequence: int, ack: int, flags: int = ACK, data: bytes = b"", window: int | None = None, **fields: Any
    ) -> list[tuple[int, int, int, bytes]]:
        """A segment of the peer; returns what is sent thereupon, as ``answers`` does."""
        segment = Segment(
            (IRS + sequence) & 0xFFFF_FFFF,
            (ISS + ack) & 0xFFFF_FFFF if flags & ACK else 0,
            flags,
            self.window if window is None else window,
        )._replace(**fields)
        start = len(self.sent)
        lent = self.connection.segment_arrives(segment, Buffers.of(data), self.now)
        if lent:
            if self.takes:
                self.delivered += lent.tobytes()
            self.connection.consumed(lent.nbytes if self.takes else 0)
        self.transmit()
        return self.answers(start)

    def wait(self, ns: int) -> list[tuple[int, int, int, bytes]]:
        """Time goes by, from deadline to deadline; returns what is sent meanwhile."""
        start = len(self.sent)
        end = self.now + ns
        while True:
            deadline = self.connection.next_deadline()
            if deadline is None or deadline > end:
                break
            self.now = max(self.now, deadline)
            self.connection.on_deadline(self.now)
            self.transmit()
        self.now = end
        return self.answers(start)

    def write(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        """The owner writes all of it; returns what is sent."""
        start = len(self.sent)
        assert self.connection.write(data) == len(data)
        self.transmit()
        return self.answers(start)

    def close(self) -> list[tuple[int, int, int, bytes]]:
        """The owner closes; returns what is sent."""
        start = len(self.sent)
        self.connection.close()
        self.transmit()
        return self.answers(start)

    def read(self) -> list[tuple[int, int, int, bytes]]:
        """The owner takes what waits; returns what is sent."""
        start = len(self.sent)
        waiting = self.connection.received()
        self.delivered += waiting.tobytes()
        self.connection.consumed(waiting.nbytes)
        self.transmit()
        return self.answers(start)

    def transmit(self) -> bool:
        """Pull what is to be sent."""
        return self.connection.transmit(self._emit, self.now)

    def _emit(self, segment: Segment, payload: Buffers) -> bool:
        if self.link_full:
            return False
        self.sent.append((segment, payload.tobytes()))
        return True

    def answers(self, start: int = 0) -> list[tuple[int, int, int, bytes]]:
        """What was sent: sequence and ACK from the SYNs on (ACK -1: none), flags without PSH, data."""
        return [
            (
                (segment.sequence - ISS) & 0xFFFF_FFFF if segment.sequence else -ISS,
                (segment.acknowledgment - IRS) & 0xFFFF_FFFF if segment.flags & ACK else -1,
                segment.flags & ~8,
                data,
            )
            for segment, data in self.sent[start:]
        ]
