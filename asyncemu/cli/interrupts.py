# SPDX-License-Identifier: GPL-2.0-or-later
"""What SIGINT, SIGTERM and SIGHUP do, from the program's first line to its last.

    until ``ask`` is called    the process ends at once: nothing is open yet that would want closing
    from then on               whoever called ``ask`` is told, and closes what is open; a second signal hurries nobody:
                               the guest's disk and the user's terminal need the closing (SIGQUIT is the way out)
    after ``conclude``         nothing: the process is about to end, and its exit status is settled

The exit status is INTERRUPTED in the first two cases. No handler raises: an exception in the middle of an import, a
destructor or a callback from C is swallowed or printed there, and the process goes on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Final

#: Exit status of an interrupted program: what a shell shows for SIGINT, 128 + 2.
INTERRUPTED: Final = 130


class Interrupts:
    """The signals of one run of the program. Main thread only."""

    def __init__(self) -> None:
        #: Has there been one?
        self.received = False
        self._tell: Callable[[], object] | None = None

    def install(self) -> None:
        """Handle the signals from now on."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)
        # nohup(1) ignores it on purpose.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._handle)

    def ask(self, tell: Callable[[], object]) -> None:
        """Call ``tell`` instead of ending the process; it must not raise, and may be called several times."""
        self._tell = tell

    def conclude(self, status: int) -> int:
        """The exit status of the program, which would be ``status``; from here on signals are ignored.

        Python's finalization gives signals their default actions back, with which one would end the process with
        another status; it leaves those alone that are ignored.
        """
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        return INTERRUPTED if self.received else status

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        if self._tell is None:
            os._exit(INTERRUPTED)
        self._tell()
