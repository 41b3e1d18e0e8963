# SPDX-License-Identifier: GPL-2.0-or-later
"""KeepAlive: asks guests whether connections on which nothing happens are still there. RFC 9293, 3.8.4.

A guest that was reset, or whose program's machine has forgotten the connection, says nothing; without a question the
host's socket would be open for ever. All connections are looked at together, now and then: no segment pays for it. On
the host's side the kernel asks (SO_KEEPALIVE).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncemu.net.tcp import Reason

if TYPE_CHECKING:
    from asyncemu.net.user.tcp_relays import TcpRelays

_SECOND: Final = 1_000_000_000

#: Of silence before the first question, in ns: "no less than two hours" (RFC 9293, 3.8.4).
IDLE: Final = 7200 * _SECOND
#: Between looks, and so between questions, in ns; and how many are asked. Linux's: tcp(7).
INTERVAL: Final = 75 * _SECOND
QUESTIONS: Final = 9


class KeepAlive:
    """An Owner of the stack's deadlines. Home: the stack's."""

    def __init__(self, relays: TcpRelays) -> None:
        self.armed: int | None = None
        self._relays = relays
        self._at = 0

    def begin(self) -> None:
        """There is a first connection."""
        self._at = self._relays.stack.now + INTERVAL
        self._relays.stack.deadlines.touch(self)

    def next_deadline(self) -> int | None:
        """See Owner."""
        return self._at if len(self._relays) else None

    def on_deadline(self, now: int) -> None:
        """See Owner."""
        self._at = now + INTERVAL
        self._relays.stack.now = now
        for relay in self._relays.connections:
            silence = now - relay.last_heard
            if silence < IDLE or not relay.core.established:
                continue
            if silence >= IDLE + QUESTIONS * INTERVAL:
                relay.core.abort(Reason.TIMED_OUT)
            else:
                relay.core.ask(now)
            self._relays.mark(relay)
