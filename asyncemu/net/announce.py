# SPDX-License-Identifier: GPL-2.0-or-later
"""Telling the network where a machine is: after a migration switches learn from a frame on which port it is now.

Several rounds, as the first frames may get lost while a switch still looks at its new port. QEMU: net/announce.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pydantic import Field

from asyncemu.loop import AioContext, Clock, home
from asyncemu.net.frame import MIN_FRAME
from asyncemu.options import Options

_BROADCAST: Final = b"\xff" * 6
_MS: Final = 1_000_000


class AnnounceParameters(Options):
    """Times in milliseconds; QEMU's names and defaults."""

    initial: int = Field(default=50, ge=0, le=100_000, description="ms between the first two rounds.")
    max: int = Field(default=550, ge=0, le=100_000, description="ms between rounds at most.")
    rounds: int = Field(default=5, ge=1, le=1000, description="How many times.")
    step: int = Field(default=100, ge=0, le=10_000, description="ms that the time between rounds grows by.")

    def pause_behind(self, rounds_done: int) -> int:
        """ms from round ``rounds_done`` (the first is 1) to the next."""
        return min(self.initial + (rounds_done - 1) * self.step, self.max)


def announcement(mac: bytes) -> bytes:
    """A frame from ``mac`` to all that means nothing but that: a reverse ARP request (RFC 903) for its own address."""
    reverse_arp = bytes.fromhex("0001 0800 06 04 0003") + (mac + bytes(4)) * 2
    return (_BROADCAST + mac + b"\x80\x35" + reverse_arp).ljust(MIN_FRAME, b"\0")


class Announcer:
    """Calls ``announce`` once a round: at once, then as ``parameters`` say. Home: the machine's."""

    def __init__(
        self, context: AioContext, clock: Clock, parameters: AnnounceParameters, announce: Callable[[], object]
    ) -> None:
        self.context = context
        self.parameters = parameters
        self.rounds_done = 0
        self._clock = clock
        self._announce = announce
        self._timer = context.timer(clock, self._round)

    @home
    def start(self) -> None:
        """The first round is now."""
        self._round()

    @home
    def cancel(self) -> None:
        """No more rounds."""
        self._timer.cancel()

    def _round(self) -> None:
        self._announce()
        self.rounds_done += 1
        if self.rounds_done < self.parameters.rounds:
            self._timer.mod(self._clock.now() + self.parameters.pause_behind(self.rounds_done) * _MS)
