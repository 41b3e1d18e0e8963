# SPDX-License-Identifier: GPL-2.0-or-later
"""SEGMENT ARRIVES: what a segment does to a connection. RFC 9293, 3.10.7, with RFC 7323 (PAWS) and RFC 5961."""

from __future__ import annotations

from typing import Final

from asyncemu.memory.buffers import Buffers
from asyncemu.net.tcp.endpoint import Endpoint
from asyncemu.net.tcp.segment import ACK, FIN, RST, SYN, Segment, reset_for
from asyncemu.net.tcp.sequence import HALF, MASK, is_before, unwrap
from asyncemu.net.tcp.state import Event, Reason, State
from asyncemu.net.tcp.timers import DELAYED_ACK, MS, SECOND

#: RFC 7323, 5.5: TS.Recent says nothing any more after 24 days of silence.
TIMESTAMP_OUTDATED: Final = 24 * 24 * 3600 * SECOND
#: In ms. A timestamp that seems older than this is not ours.
_LONGEST_ROUND_TRIP: Final = 600_000

# As globals: to look a member up takes time.
_SYN_RECEIVED: Final = State.SYN_RECEIVED
_FIN_WAIT_2: Final = State.FIN_WAIT_2


class Arrivals(Endpoint):
    """The half of a connection that reads segments."""

    __slots__ = ()

    def segment_arrives(self, segment: Segment, payload: Buffers, now: int) -> Buffers:
        """A segment of this connection. Returns data that is in order now, for the owner to take from at once.

        The views are the payload's memory, and lent for as long as that is. When some are returned, ``consumed`` is to
        be called before anything else; what the owner does not take then is copied, and waits in ``received``. Nothing
        is returned while older data waits there. RuntimeError: ``consumed`` was not called.
        """
        receiver = self._receiver
        if receiver.lent:
            raise RuntimeError("data was lent, and consumed() was not called")
        if self.state < _SYN_RECEIVED:
            if self.state is State.SYN_SENT:
                self._arrives_in_syn_sent(segment, payload.nbytes, now)
            elif self.state is State.HELD:
                self._arrives_in_held(segment, now)
            return Buffers()
        length = len(payload[0]) if len(payload) == 1 else payload.nbytes
        sequence = receiver.next
        flags = segment.flags
        if segment.sequence != sequence & MASK or flags & (RST | SYN | ACK) != ACK or not self._is_timely(segment, now):
            sequence = unwrap(segment.sequence, sequence)
            if not self._is_acceptable(segment, sequence, length, now):
                return Buffers()
            if flags & (RST | SYN | ACK) != ACK:
                if not self._is_second_syn(flags, sequence, now):
                    return Buffers()
                # Both have opened at once: this is the ACK of our SYN. RFC 9293, 3.5, figure 8.
                sequence += 1
        if not self._acknowledged(segment, sequence, length, now):
            return Buffers()
        if (length or flags & FIN) and self.state <= _FIN_WAIT_2:
            self._text(payload, sequence, length, bool(flags & FIN), now)
        return receiver.lent

    # ---- HELD and SYN-SENT

    def _arrives_in_held(self, segment: Segment, now: int) -> None:
        """Nothing was answered yet: only a guest that gave up, or tries anew, matters."""
        flags = segment.flags
        if flags & RST:
            # The peer has seen no number of ours, so it can only know its own.
            if unwrap(segment.sequence, self._receiver.next) in (self._receiver.next, self._receiver.next - 1):
                self._finish(Reason.RESET)
        elif flags & (SYN | ACK | FIN) == SYN:
            self._synchronize(segment, now)

    def _arrives_in_syn_sent(self, segment: Segment, length: int, now: int) -> None:
        """RFC 9293, 3.10.7.3."""
        sender = self._sender
        flags = segment.flags
        if flags & ACK:
            ack = unwrap(segment.acknowledgment, sender.una)
            if not sender.iss < ack <= sender.max:
                self._reply = reset_for(segment, length)
                return
            if flags & RST:
                self._finish(Reason.REFUSED)
                return
        if flags & RST or not flags & SYN:
            return
        # Data in a SYN is not acknowledged, and comes again.
        self._synchronize(segment, now)
        if not flags & ACK:
            self._move(Event.SYN)
            sender.next = sender.iss
            return
        round_trip = sender.acknowledge(ack, now)
        if round_trip is not None:
            self._timer.sample(round_trip)
        sender.edge = ack + segment.window
        sender.window_ack = ack
        self._establish(now)
        self._ack_owed = True

    def _establish(self, now: int) -> None:
        self._move(Event.ACK_OF_SYN)
        self._timer.progress(now, self._sender.outstanding)
        if self._sender.closing:
            self._move(Event.CLOSE)

    # ---- the checks of 3.10.7.4

    def _is_timely(self, segment: Segment, now: int) -> bool:
        """The usual case, quickly: the very next number, with a timestamp that is not older than the last one."""
        timestamps = segment.timestamps
        if timestamps is None:
            return not self._agreement.timestamps
        if (timestamps[0] - self._timestamp_recent) & MASK >= HALF:
            return False
        if self._receiver.next == self._last_ack_sent:
            # RFC 7323, 4.3 (2).
            self._timestamp_recent = timestamps[0]
            self._timestamp_at = now
        return True

    def _is_second_syn(self, flags: int, sequence: int, now: int) -> bool:
        """Second to fifth: RST, SYN, and no ACK. True: go on behind the SYN; else the segment ends here."""
        if flags & RST:
            self._reset(sequence, now)
        elif not flags & SYN:
            # Fifth, "if the ACK bit is off, drop the segment and return".
            pass
        elif sequence != self._receiver.next - 1 or self.state is not _SYN_RECEIVED:
            # RFC 5961, 4.2: whatever its number is.
            self._challenge(now)
        elif flags & ACK:
            return True
        else:
            # Our answer was lost.
            self._sender.next = self._sender.iss
        return False

    def _is_acceptable(self, segment: Segment, sequence: int, length: int, now: int) -> bool:
        """First: timestamp (RFC 7323, 5.3) and sequence number. If not, an ACK says what would be."""
        flags = segment.flags
        receiver = self._receiver
        if self._agreement.timestamps and not flags & RST:
            timestamps = segment.timestamps
            if timestamps is None:
                # RFC 7323, 3.2: "SHOULD silently drop".
                return bool(flags & SYN)
            is_old = is_before(timestamps[0], self._timestamp_recent)
            if is_old and now - self._timestamp_at < TIMESTAMP_OUTDATED:
                self._answer_unacceptable(flags, length, now)
                return False
        expected = receiver.next
        if sequence == expected:
            # Also when the window is closed: "special allowance should be made to accept valid ACKs".
            acceptable = True
        elif flags & SYN:
            # RFC 5961, 4.2 answers a SYN whatever its number is.
            return True
        else:
            # A FIN has a number of its own, and the value 1.
            end = sequence + length + (flags & FIN)
            acceptable = expected < sequence < receiver.edge or sequence < expected < end
            if sequence == receiver.edge == end and not flags & RST:
                # A pure ACK of a peer that has filled the window, ahead of what is lost.
                acceptable = True
        # RFC 7323, 4.3 (2); also from what comes again as our ACK was lost, else the next ACK seems to come late. Such
        # a segment is near the window: what is elsewhere was not sent by the peer.
        if (
            expected - receiver.queue.capacity <= sequence <= self._last_ack_sent
            and self._agreement.timestamps
            and not flags & RST
        ):
            assert segment.timestamps is not None
            self._timestamp_recent = segment.timestamps[0]
            self._timestamp_at = now
        if not acceptable and not flags & RST:
            self._answer_unacceptable(flags, length, now)
            if expected - receiver.queue.capacity <= sequence < expected and flags & ACK:
                self._old_acknowledged(segment, sequence, length, now)
        return acceptable

    def _old_acknowledged(self, segment: Segment, sequence: int, length: int, now: int) -> None:
        """What the peer had sent before; its ACK may be news still, and counts as in BSD.

        Both ends with a closed window may have taken the other's probe, which neither knows: each sends ACKs with the
        number before the probe. Were they dropped, no ACK would ever arrive.
        """
        sender = self._sender
        if self.state >= State.ESTABLISHED and sender.una < unwrap(segment.acknowledgment, sender.una) <= sender.max:
            self._acknowledged(segment, sequence, length, now)

    def _answer_unacceptable(self, flags: int, length: int, now: int) -> None:
        if length or flags & FIN:
            self._owe_duplicate()
            if self.state is State.TIME_WAIT and flags & FIN:
                # Our last ACK was lost.
                self._time_wait_until = now + self._settings.time_wait
        else:
            self._challenge(now)

    def _reset(self, sequence: int, now: int) -> None:
        """RFC 5961, 3.2: only a RST that knows the very next number counts; a guess is asked back."""
        if sequence != self._receiver.next:
            self._challenge(now)
        elif self.state in (State.CLOSING, State.LAST_ACK, State.TIME_WAIT):
            # Both directions had ended; the peer just does not wait for our last ACKs.
            self._finish(None if not self._sender.queue else Reason.RESET)
        else:
            self._finish(Reason.REFUSED if self.state is State.SYN_RECEIVED else Reason.RESET)

    # ---- fifth: the ACK field

    def _acknowledged(self, segment: Segment, sequence: int, length: int, now: int) -> bool:
        """False: the segment ends here."""
        sender = self._sender
        una = sender.una
        ack = una if segment.acknowledgment == una & MASK else unwrap(segment.acknowledgment, una)
        if self.state is _SYN_RECEIVED:
            if not una < ack <= sender.max:
                self._reply = reset_for(segment, length)
                return False
            self._establish(now)
        elif ack > sender.max or ack < una - sender.max_window:
            self._challenge(now)
            return False
        if ack < una:
            return True
        # The window in a SYN is not scaled: RFC 7323, 2.2.
        window = segment.window if segment.flags & SYN else segment.window << self._agreement.send_shift
        news = False
        if segment.sack and self._agreement.sack:
            news = sender.selectively_acknowledged(
                [(unwrap(left, una), unwrap(right, una)) for left, right in segment.sack]
            )
        old_edge = sender.edge
        timer = self._timer
        if ack > una:
            round_trip = sender.acknowledge(ack, now)
            timestamps = segment.timestamps
            if round_trip is None and timestamps is not None and timestamps[1] and self._agreement.timestamps:
                # RFC 7323, 4.1: right also for what was sent twice.
                elapsed = (now // MS + sender.iss - timestamps[1]) & MASK
                round_trip = elapsed * MS if elapsed < _LONGEST_ROUND_TRIP else None
            if round_trip is not None:
                timer.sample(round_trip)
            timer.progress(now, ack < sender.max)
            self.soft_error = False
            if sender.closing and sender.fin_acknowledged:
                self._fin_acknowledged(now)
        elif sender.outstanding and (
            # RFC 5681, 2; or RFC 6675, 2, when the peer says more.
            news or (not length and not segment.flags & FIN and old_edge == ack + window)
        ):
            sender.duplicate()
        sender.window(sequence, ack, window)
        if sender.edge <= sender.una:
            timer.answered(now)
        elif old_edge <= una:
            timer.window_opened(now)
        return True

    def _fin_acknowledged(self, now: int) -> None:
        self._move(Event.ACK_OF_FIN)
        if self.state is State.TIME_WAIT:
            self._enter_time_wait(now)
        elif self.state is State.CLOSED:
            self._finish(None)

    def _enter_time_wait(self, now: int) -> None:
        self._timer.stop()
        self._time_wait_until = now + self._settings.time_wait

    # ---- seventh and eighth: text and FIN

    def _text(self, payload: Buffers, sequence: int, length: int, fin: bool, now: int) -> None:
        receiver = self._receiver
        if fin and receiver.fin is None and sequence + length <= receiver.edge:
            receiver.fin = sequence + length
        had_gap = receiver.has_gap
        moved = bool(length) and receiver.accept(sequence, payload, length)
        if receiver.next == receiver.fin:
            receiver.next += 1
            self._ack_owed = True
            self._move(Event.FIN)
            if self.state is State.TIME_WAIT:
                self._enter_time_wait(now)
        elif not moved:
            # Out of order, or the window is closed: RFC 5681, 4.2.
            self._owe_duplicate()
        elif had_gap or receiver.unacknowledged >= 2 * receiver.mss:
            # RFC 5681, 4.2: "a segment that fills in all or part of a gap"; RFC 1122, 4.2.3.2: every second one.
            self._ack_owed = True
        elif self._ack_at is None:
            self._ack_at = now + DELAYED_ACK
