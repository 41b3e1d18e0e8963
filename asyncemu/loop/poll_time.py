# SPDX-License-Identifier: GPL-2.0-or-later
"""PollTime: how long to look for work before going to sleep. No I/O: times come in as arguments.

QEMU's rule (kvm's halt_poll_ns). The context has slept for ``block_ns``, and ``poll_ns`` is how long it polls:

    block_ns <= poll_ns             polling catches such events: stays
    poll_ns < block_ns <= max_ns    a longer one would: times ``grow``, from FIRST_POLL, to max_ns at most
    max_ns < block_ns               none would: divided by ``shrink``, or 0

And rests, which QEMU does not need: when polling was in the way of another thread that wants the GIL, it stops for
FIRST_REST, and for twice as long each time that this happens again before polling has caught anything.
"""

from __future__ import annotations

from typing import Final, NamedTuple

#: Where growing begins, ns: QEMU's.
FIRST_POLL: Final = 4_000
#: Rest after the GIL was contended, ns: the first, and the longest (arbitrary).
FIRST_REST: Final = 1_000_000
LONGEST_REST: Final = 1_000_000_000


class PollParameters(NamedTuple):
    """QEMU's names. ``max_ns`` 0: never poll; ``grow`` 0: times 2; ``shrink`` 0: to nothing at once."""

    max_ns: int = 0
    grow: int = 0
    shrink: int = 0


class PollTime:
    """Of one context; its home only."""

    def __init__(self) -> None:
        self.parameters = PollParameters()
        #: How long the next polling is to be, ns; 0: none.
        self.poll_ns = 0
        self._rest_until = 0
        self._rest = FIRST_REST

    def set_parameters(self, parameters: PollParameters) -> None:
        """From now on; begins anew."""
        self.parameters = parameters
        self.poll_ns = 0
        self._rest_until = 0
        self._rest = FIRST_REST

    def slept(self, block_ns: int) -> None:
        """Learn: the context had nothing to do for so long; the time of handlers does not count."""
        parameters, poll_ns = self.parameters, self.poll_ns
        if block_ns <= poll_ns:
            return
        if block_ns > parameters.max_ns:
            self.poll_ns = poll_ns // parameters.shrink if parameters.shrink else 0
        else:
            self.poll_ns = min(poll_ns * (parameters.grow or 2) or FIRST_POLL, parameters.max_ns)

    def caught(self) -> None:
        """Polling has found something: it is worth its while."""
        self._rest = FIRST_REST

    def contended(self, now: int) -> None:
        """At ``now`` (monotonic ns) polling was in the way of another thread."""
        self._rest_until = now + self._rest
        self._rest = min(2 * self._rest, LONGEST_REST)

    def may_begin(self, now: int) -> bool:
        """Is it worth trying at ``now``?"""
        return self.poll_ns > 0 and now >= self._rest_until
