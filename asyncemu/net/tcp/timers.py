# SPDX-License-Identifier: GPL-2.0-or-later
"""The retransmission timer, RFC 6298; it also probes a closed window. All times in ns of the guest's clock."""

from __future__ import annotations

from typing import Final

MS: Final = 1_000_000
SECOND: Final = 1_000_000_000

#: RFC 6298, 2.1.
FIRST_RTO: Final = SECOND
#: RFC 6298, 2.4 wants a second, for the delayed ACKs of a wide network; Linux, which most guests are, uses this too.
MIN_RTO: Final = 200 * MS
#: RFC 6298, 2.5.
MAX_RTO: Final = 60 * SECOND
#: A window that opens is told without being asked; should that be lost, the peer does not wait for a minute.
MAX_PROBE: Final = 10 * SECOND
#: RFC 1122, 4.2.3.5, R2: at least 100 s, and 3 minutes for a SYN; and so many attempts, as not all may have arrived.
GIVE_UP: Final = 100 * SECOND
GIVE_UP_SYN: Final = 180 * SECOND
MIN_ATTEMPTS: Final = 12
#: RFC 1122, 4.2.3.2 allows 0.5 s. The link is memory: a writer who waits for the ACK (Nagle) is not to notice.
DELAYED_ACK: Final = 10 * MS
#: RFC 5961, 7: so many ACKs in answer to segments that do not fit, at most, in the time.
CHALLENGES: Final = 10
CHALLENGE_TIME: Final = SECOND


class RetransmissionTimer:
    """When to send again, from how long the peer takes to answer."""

    __slots__ = ("_backoff", "_deviation", "_rto", "_smoothed", "attempts", "deadline", "waiting_since")

    def __init__(self) -> None:
        self.deadline: int | None = None
        #: Since when the peer has not answered, and how often it was asked again.
        self.waiting_since = 0
        self.attempts = 0
        self._rto = FIRST_RTO
        self._backoff = 0
        #: SRTT and RTTVAR; 0: nothing was measured.
        self._smoothed = 0
        self._deviation = 0

    @property
    def timeout(self) -> int:
        """RTO, in ns."""
        return min(self._rto << self._backoff, MAX_RTO)

    def sample(self, round_trip: int) -> None:
        """A round trip was measured. RFC 6298, 2.2 and 2.3."""
        round_trip = max(round_trip, 1)
        if not self._smoothed:
            self._smoothed = round_trip
            self._deviation = round_trip // 2
        else:
            self._deviation += (abs(self._smoothed - round_trip) - self._deviation) // 4
            self._smoothed += (round_trip - self._smoothed) // 8
        rto = self._smoothed + max(4 * self._deviation, MS)
        self._rto = MIN_RTO if rto < MIN_RTO else min(rto, MAX_RTO)
        # Karn: a timeout that was doubled stays, until a round trip is measured again.
        self._backoff = 0

    def start(self, now: int) -> None:
        """Something was sent: RFC 6298, 5.1. Nothing when it runs."""
        if self.deadline is None:
            self.deadline = now + self.timeout
            self.waiting_since = now
            self.attempts = 0

    def progress(self, now: int, outstanding: bool) -> None:
        """Something was acknowledged: RFC 6298, 5.2 and 5.3."""
        self.waiting_since = now
        self.attempts = 0
        self.deadline = now + self.timeout if outstanding else None

    def answered(self, now: int) -> None:
        """The peer is there, but its window is closed: it may be so forever (RFC 9293, 3.8.6.1)."""
        self.waiting_since = now
        self.attempts = 0

    def window_opened(self, now: int) -> None:
        """The long waits between probes are over."""
        self._backoff = 0
        if self.deadline is not None:
            self.deadline = now + self.timeout

    def expired(self, now: int, probe: bool) -> None:
        """The deadline has come: wait twice as long. RFC 6298, 5.5 and 5.6."""
        self.attempts += 1
        if self.timeout < MAX_RTO:
            self._backoff += 1
        self.deadline = now + (min(self.timeout, MAX_PROBE) if probe else self.timeout)

    def is_hopeless(self, now: int, opening: bool) -> bool:
        """Has the peer been silent for so long that it is gone? RFC 9293, 3.8.3."""
        silence = now - self.waiting_since
        return silence >= GIVE_UP_SYN if opening else silence >= GIVE_UP and self.attempts >= MIN_ATTEMPTS

    def stop(self) -> None:
        """Nothing is waited for."""
        self.deadline = None


class ChallengeLimit:
    """How many ACKs may answer segments that do not fit; two confused ends would play ping-pong. RFC 5961, 7."""

    __slots__ = ("_count", "_since")

    def __init__(self) -> None:
        self._count = 0
        self._since = 0

    def allows(self, now: int) -> bool:
        """One more?"""
        if now - self._since >= CHALLENGE_TIME:
            self._since = now
            self._count = 0
        self._count += 1
        return self._count <= CHALLENGES
