# SPDX-License-Identifier: GPL-2.0-or-later
"""TcpConnection: one end of a TCP connection, without I/O and without a clock. RFC 9293.

The owner brings segments (``segment_arrives``), data (``write``, or ``reserve`` and ``commit``) and the time
(``on_deadline`` at ``next_deadline``). After each of these it calls ``transmit``, and looks at the attributes:

    established     the peer has answered; data may flow
    peer_closed     the peer's FIN has come: nothing follows what is in ``received``
    at_end          and that was taken, too: the owner passes the end on
    closed          it is over; ``reason`` says why, when it did not end as both sides wanted
    room            bytes that ``write`` takes now

A server's side holds back its answer to the SYN until ``establish()``; ``refuse()`` answers it with a RST. ``close()``
ends this side's data only; the peer goes on until it closes. ``abort()`` is a RST.

Output is pulled: ``transmit`` is called when the link has room, and a segment that the link does not take was not sent.
Everything is bounded: the data by the two buffers, the rest by constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from asyncemu.memory.buffers import Buffers
from asyncemu.net.tcp.arrivals import Arrivals
from asyncemu.net.tcp.options import MIN_MSS, TIMESTAMPS_LENGTH, TcpSettings, with_offer
from asyncemu.net.tcp.receiver import MAX_VIEWS
from asyncemu.net.tcp.segment import ACK, FIN, PSH, RST, SYN, Segment
from asyncemu.net.tcp.sequence import MASK, is_before, unwrap
from asyncemu.net.tcp.state import Event, Reason, State
from asyncemu.net.tcp.timers import MS

#: Hands a segment with its payload to the link; False: there is no room. The views are lent for the call, and nothing
#: may be done to the connection meanwhile.
Emit: TypeAlias = Callable[[Segment, Buffers], bool]

# As globals: to look a member up takes time.
_CLOSED: Final = State.CLOSED
_HELD: Final = State.HELD
_ESTABLISHED: Final = State.ESTABLISHED
_OPENING: Final = (State.SYN_SENT, State.SYN_RECEIVED)


class TcpConnection(Arrivals):
    """See the module. Times are ns of the guest's clock, sizes bytes."""

    __slots__ = ()

    # ---- opening

    @classmethod
    def accept(cls, syn: Segment, now: int, iss: int, settings: TcpSettings) -> TcpConnection:
        """The peer's SYN; it is answered after ``establish()``. ``iss`` is not to be guessed: RFC 9293, 3.4.1."""
        connection = cls(State.HELD, settings, iss)
        connection._synchronize(syn, now)
        return connection

    @classmethod
    def connect(cls, iss: int, settings: TcpSettings) -> TcpConnection:
        """A connection to the peer: ``transmit`` sends the SYN."""
        return cls(State.SYN_SENT, settings, iss)

    def establish(self) -> None:
        """There is a server behind us: answer the SYN. Nothing when the peer gave up meanwhile."""
        if self.state is State.HELD:
            self._move(Event.ESTABLISH)

    def refuse(self) -> None:
        """There is none: answer the SYN with a RST. RFC 9293, 3.10.7.1."""
        if self.state is State.HELD:
            self._reset_owed = Segment(0, self._receiver.next & MASK, RST | ACK)
            self._finish(Reason.ABORTED)

    # ---- what the owner sees

    @property
    def established(self) -> bool:
        """Have both ends opened, and is it not over?"""
        return self.state >= _ESTABLISHED

    @property
    def peer_closed(self) -> bool:
        """Has the peer's FIN come?"""
        receiver = self._receiver
        return receiver.fin is not None and receiver.next > receiver.fin

    @property
    def at_end(self) -> bool:
        """Has the peer's FIN come, and has the owner taken all that was before it?"""
        return self.peer_closed and not self._receiver.queue.length and not self._receiver.lent

    @property
    def closed(self) -> bool:
        """Is it over? A RST that is to be sent may be left to ``transmit``."""
        return self.state is State.CLOSED

    @property
    def segment_size(self) -> int:
        """Payload of a full segment: what a segment that is too large is to be cut into."""
        return self._agreement.segment_size

    @property
    def unacknowledged(self) -> int:
        """Bytes written that the peer has not acknowledged."""
        return self._sender.queue.length

    @property
    def waiting(self) -> int:
        """Bytes that have come and that the owner has not taken."""
        return self._receiver.queue.length

    # ---- data from the peer

    def received(self) -> Buffers:
        """What waits for the owner, from its start. Call ``consumed`` before anything else."""
        return self._receiver.queue.views(MAX_VIEWS)

    def consumed(self, length: int) -> None:
        """So many bytes of what ``segment_arrives`` has lent, or of ``received``, were taken; the rest is kept."""
        receiver = self._receiver
        receiver.consumed(length)
        # RFC 1122, 4.2.3.3: the window has grown by as much as is worth telling.
        if not self._ack_owed and receiver.update_due() and self.state >= _ESTABLISHED and receiver.fin is None:
            self._ack_owed = True

    # ---- data for the peer

    @property
    def room(self) -> int:
        """Bytes that ``write`` takes now; 0 after ``close``."""
        sender = self._sender
        return 0 if sender.closing else sender.queue.room

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Queue a copy of as much as there is room for; returns how much that was. Large ``bytes`` are not copied."""
        sender = self._sender
        length = len(data)
        room = 0 if sender.closing else sender.queue.room
        if length > room:
            length = room
            data = memoryview(data)[:length]
        sender.queue.append(data)
        sender.end += length
        return length

    def reserve(self) -> memoryview:
        """Memory to receive into, for a ``commit``; empty when there is no room."""
        return self._sender.queue.reserve() if self.room else memoryview(b"")

    def commit(self, length: int) -> None:
        """The first bytes of what ``reserve`` returned are data now."""
        if length and self.room:
            self._sender.queue.commit(length)
            self._sender.end += length

    def close(self) -> None:
        """Nothing follows what was written: a FIN goes out behind it. RFC 9293, 3.10.4."""
        sender = self._sender
        if sender.closing:
            return
        sender.closing = True
        if self.state in (State.ESTABLISHED, State.CLOSE_WAIT):
            self._move(Event.CLOSE)

    def abort(self, reason: Reason = Reason.ABORTED) -> None:
        """It ends here, and the peer gets a RST. RFC 9293, 3.10.5."""
        if self.state is State.HELD:
            self.refuse()
        elif self.state is not State.CLOSED:
            if self.state not in (State.SYN_SENT, State.TIME_WAIT):
                self._reset_owed = Segment(self._sender.acceptable & MASK, self._receiver.next & MASK, RST | ACK)
            self._finish(reason)

    # ---- from the network layer

    def unreachable(self, sequence: int, hard: bool) -> None:
        """An ICMP error came for the segment with this number; hard: as RFC 1122, 4.2.3.9 has it.

        One that a guesser could not know is ignored, and an open connection outlives them all: RFC 5927, 4.1 and 5.2.
        """
        sender = self._sender
        if sender.una <= unwrap(sequence, sender.una) < sender.max:
            if hard and self.state in _OPENING:
                self._finish(Reason.UNREACHABLE)
            else:
                self.soft_error = True

    def packet_too_big(self, sequence: int, mss: int) -> None:
        """An ICMP error says that segments are to be smaller. RFC 1191, 6.4; RFC 5927, 7."""
        sender = self._sender
        if sender.una <= unwrap(sequence, sender.una) < sender.max:
            size = max(MIN_MSS, mss) - (TIMESTAMPS_LENGTH if self._agreement.timestamps else 0)
            if size < sender.mss:
                self._agreement = self._agreement._replace(segment_size=size)
                sender.mss = size
                sender.next = sender.una

    def may_be_replaced(self, syn: Segment) -> bool:
        """In TIME-WAIT: is this SYN that of a new connection with the same ports? RFC 9293, 3.10.7.4; RFC 6191, 2."""
        if self.state is not State.TIME_WAIT or syn.flags & (SYN | ACK | RST | FIN) != SYN:
            return False
        if syn.timestamps is not None and self._agreement.timestamps:
            if is_before(self._timestamp_recent, syn.timestamps[0]):
                return True
            if syn.timestamps[0] != self._timestamp_recent:
                return False
        return unwrap(syn.sequence, self._receiver.next) >= self._receiver.next

    # ---- time

    def next_deadline(self) -> int | None:
        """When to call ``on_deadline``; None: never, as it stands."""
        deadline = self._timer.deadline
        for other in (self._ack_at, self._time_wait_until):
            if other is not None and (deadline is None or other < deadline):
                deadline = other
        return deadline

    def on_deadline(self, now: int) -> None:
        """It is ``now``: do what is due, if anything. ``transmit`` follows."""
        if self._ack_at is not None and self._ack_at <= now:
            self._ack_at = None
            self._ack_owed = True
        if self._time_wait_until is not None and self._time_wait_until <= now:
            self._time_wait_until = None
            self._move(Event.TIMEOUT)
            self._finish(None)
        timer = self._timer
        if timer.deadline is not None and timer.deadline <= now:
            self._retransmit(now)

    def _retransmit(self, now: int) -> None:
        sender, timer = self._sender, self._timer
        opening = self.state in _OPENING
        if not sender.outstanding and not sender.pending:
            timer.stop()
            return
        if timer.is_hopeless(now, opening):
            reason = Reason.UNREACHABLE if self.soft_error else Reason.TIMED_OUT
            self._finish(reason) if self.state is State.SYN_SENT else self.abort(reason)
            return
        timer.expired(now, probe=not opening and sender.edge <= sender.una)
        if opening:
            sender.next = sender.iss
        else:
            sender.timeout()

    def ask(self, now: int) -> None:
        """Have ``transmit`` ask whether the peer is still there; whatever it answers arrives as a segment.

        RFC 9293, 3.8.4. Nothing when something is on its way already, which is asked about by sending it again.
        """
        sender, receiver = self._sender, self._receiver
        if self.state >= _ESTABLISHED and not sender.outstanding and not sender.pending:
            timestamps = (self._timestamp(now), self._timestamp_recent) if self._agreement.timestamps else None
            window = min(receiver.window() >> receiver.shift, 0xFFFF)
            sequence = (sender.acceptable - 1) & MASK
            self._reply = Segment(sequence, receiver.next & MASK, ACK, window, timestamps=timestamps)

    # ---- output

    def transmit(self, emit: Emit, now: int) -> bool:
        """Hand what is to be sent to ``emit``, until that says that there is no room. True: all was taken."""
        state = self.state
        reply = self._reply
        if reply is not None:
            if not emit(reply, Buffers()):
                return False
            self._reply = None
        if state is _CLOSED:
            reset = self._reset_owed
            if reset is not None:
                if not emit(reset, Buffers()):
                    return False
                self._reset_owed = None
            return True
        if state is _HELD:
            return True
        sender = self._sender
        if sender.next == sender.iss:
            return self._transmit_syn(emit, now)
        if state is State.SYN_SENT:
            return True
        while self._duplicates_owed:
            # Without data, so that they count: RFC 5681, 2.
            if not self._transmit_ack(emit, now):
                return False
            self._duplicates_owed -= 1
        has_data = sender.una < sender.max or sender.next < sender.end + sender.closing
        if has_data and state >= _ESTABLISHED and not self._transmit_data(emit, now):
            return False
        if self._ack_owed:
            return self._transmit_ack(emit, now)
        return True

    def _transmit_syn(self, emit: Emit, now: int) -> bool:
        sender = self._sender
        receiver = self._receiver
        window = min(receiver.queue.room, 0xFFFF)
        if self.state is State.SYN_SENT:
            segment = Segment(sender.iss & MASK, 0, SYN, window)
            stamps = (self._timestamp(now), 0) if self._settings.timestamps else None
        else:
            segment = Segment(sender.iss & MASK, receiver.next & MASK, SYN | ACK, window)
            stamps = (self._timestamp(now), self._timestamp_recent) if self._agreement.timestamps else None
        segment = with_offer(segment, self._settings, self._syn)._replace(timestamps=stamps)
        if not emit(segment, Buffers()):
            return False
        sender.syn_sent(now)
        self._timer.start(now)
        if self.state is State.SYN_RECEIVED:
            receiver.told(window)
            self._last_ack_sent = receiver.next
        return True

    def _transmit_data(self, emit: Emit, now: int) -> bool:
        sender = self._sender
        limit = self.max_segment or sender.mss
        run = sender.next_run(limit)
        while run is not None:
            payload = sender.data(run) if run.length else Buffers()
            flags = ACK | FIN if run.fin else ACK
            if run.start + run.length == sender.end:
                flags |= PSH
            if not self._emit(emit, run.start, flags, payload, (), now):
                return False
            sender.sent(run, now)
            if self._timer.deadline is None:
                self._timer.start(now)
            run = None if sender.is_idle else sender.next_run(limit)
        if not sender.outstanding and sender.pending:
            # The window is closed, or too small to be worth a segment.
            self._timer.start(now)
        return True

    def _transmit_ack(self, emit: Emit, now: int) -> bool:
        sender = self._sender
        sack: tuple[tuple[int, int], ...] = ()
        if self._receiver.has_gap and self._agreement.sack:
            # Four fit the options, or three next to timestamps: RFC 2018, 3. Only here, so that all data segments of a
            # connection are of one size.
            sack = self._receiver.sack_blocks(3 if self._agreement.timestamps else 4)
        return self._emit(emit, sender.acceptable, ACK, Buffers(), sack, now)

    def _emit(
        self, emit: Emit, start: int, flags: int, payload: Buffers, sack: tuple[tuple[int, int], ...], now: int
    ) -> bool:
        receiver = self._receiver
        shift = receiver.shift
        window = receiver.window() >> shift
        if window > 0xFFFF:
            window = 0xFFFF
        stamps = ((now // MS + self._sender.iss) & MASK, self._timestamp_recent) if self._agreement.timestamps else None
        # As Segment(...), in half the time.
        segment = tuple.__new__(
            Segment, (start & MASK, receiver.next & MASK, flags, window, None, None, False, stamps, sack)
        )
        if not emit(segment, payload):
            return False
        receiver.told(window << shift)
        self._ack_owed = False
        self._ack_at = None
        self._last_ack_sent = receiver.next
        return True
