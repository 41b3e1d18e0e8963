# SPDX-License-Identifier: GPL-2.0-or-later
"""What SIGINT, SIGTERM and SIGHUP do, from the program's first line to its last.

    until ``ask`` is called    the process ends at once: nothing is open yet that would want closing
    from then on               whoever called ``ask`` is told, and closes what is open; a second signal hurries nobody:
                               the guest's disk and the user's terminal need the closing (SIGQUIT is the way out)

The exit status is INTERRUPTED either way. No handler raises: an exception in the middle of an import, a destructor or a
callback from C is swallowed or printed there, and the process goes on.
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.received = True
        if self._tell is None:
            os._exit(INTERRUPTED)
        self._tell()
