# SPDX-License-Identifier: GPL-2.0-or-later
"""What the parts of a connection share: its state, its timers, and what it owes to the peer."""

from __future__ import annotations

from asyncemu.net.tcp.options import Agreement, TcpSettings, agree
from asyncemu.net.tcp.receiver import Receiver
from asyncemu.net.tcp.segment import Segment
from asyncemu.net.tcp.sender import Sender
from asyncemu.net.tcp.sequence import MASK
from asyncemu.net.tcp.state import TRANSITIONS, Event, Reason, State
from asyncemu.net.tcp.timers import MS, ChallengeLimit, RetransmissionTimer

#: ACKs that are owed at most: enough for the peer's fast retransmit.
_MAX_DUPLICATES = 4


class Endpoint:
    """One end of a connection. No threads, no loop: whoever owns it calls, and says what time it is."""

    __slots__ = (
        "_ack_at",
        "_ack_owed",
        "_agreement",
        "_challenges",
        "_duplicates_owed",
        "_last_ack_sent",
        "_receiver",
        "_reply",
        "_reset_owed",
        "_sender",
        "_settings",
        "_syn",
        "_time_wait_until",
        "_timer",
        "_timestamp_at",
        "_timestamp_recent",
        "max_segment",
        "reason",
        "soft_error",
        "state",
    )

    def __init__(self, state: State, settings: TcpSettings, iss: int) -> None:
        self.state = state
        #: Why it ended, if not by both sides' FINs.
        self.reason: Reason | None = None
        #: An ICMP error came, which may explain why the peer doesn't answer. RFC 9293, 3.9.2.2.
        self.soft_error = False
        self._settings = settings
        self._sender = Sender(iss & MASK, settings.send_buffer)
        self._receiver = Receiver(settings.receive_buffer)
        self._agreement = Agreement(min(settings.default_mss, settings.mss))
        self._timer = RetransmissionTimer()
        self._challenges = ChallengeLimit()
        #: The peer's SYN.
        self._syn: Segment | None = None
        #: An ACK is to go out at once, or so many that count as duplicates, or one at some time. RFC 9293, 3.8.6.3.
        self._ack_owed = False
        self._duplicates_owed = 0
        self._ack_at: int | None = None
        #: A RST that answers a segment.
        self._reply: Segment | None = None
        self._time_wait_until: int | None = None
        #: TS.Recent, when it was set, and Last.ACK.sent. RFC 7323, 4.3.
        self._timestamp_recent = 0
        self._timestamp_at = 0
        self._last_ack_sent = 0
        #: The RST of an abort().
        self._reset_owed: Segment | None = None
        #: Payload bytes of one segment at most, when whoever takes it cuts it into pieces of ``segment_size``; 0: not.
        self.max_segment = 0

    # ---- for the parts

    def _synchronize(self, syn: Segment, now: int) -> None:
        """Take over what the peer's SYN says."""
        settings = self._settings
        agreement = agree(settings, syn)
        first = syn.sequence + 1
        self._syn = syn
        self._agreement = agreement
        self._receiver.start(first, agreement.segment_size, agreement.receive_shift)
        sender = self._sender
        sender.mss = agreement.segment_size
        # The window in a SYN is not scaled: RFC 7323, 2.2.
        sender.window_sequence = syn.sequence
        sender.edge = sender.una + syn.window
        sender.max_window = syn.window
        self._last_ack_sent = first
        if agreement.timestamps and syn.timestamps is not None:
            self._timestamp_recent = syn.timestamps[0]
            self._timestamp_at = now

    def _move(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]

    def _finish(self, reason: Reason | None) -> None:
        """To CLOSED: no timer runs, no memory is held but what the owner has not taken yet."""
        self.state = State.CLOSED
        if self.reason is None:
            self.reason = reason
        self._sender.clear()
        self._timer.stop()
        self._ack_at = self._time_wait_until = None
        self._ack_owed = False
        self._duplicates_owed = 0
        if reason is not None:
            self._receiver.clear()

    def _timestamp(self, now: int) -> int:
        """TSval: milliseconds, from a place of the connection's own. RFC 7323, 5.4 and 7.1."""
        return (now // MS + self._sender.iss) & MASK

    def _owe_duplicate(self) -> None:
        self._duplicates_owed = min(self._duplicates_owed + 1, _MAX_DUPLICATES)

    def _challenge(self, now: int) -> None:
        """Answer what does not fit with what would: RFC 5961, 3.2, 4.2 and 5.2."""
        if self._challenges.allows(now):
            self._owe_duplicate()
