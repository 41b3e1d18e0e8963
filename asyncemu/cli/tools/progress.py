# SPDX-License-Identifier: GPL-2.0-or-later
"""How far a long operation is: ``-p`` prints it as it goes, SIGUSR1 asks for it once. QEMU: util/qemu-progress.c."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Self


class ProgressLine:
    """A context manager around the operation. ``report`` takes the share that is done, 0 to 1.

    Shown: on stdout, rewritten in place, when it has changed by ``step`` percent. Not shown: one line on stderr at the
    next report after a SIGUSR1.
    """

    def __init__(self, shown: bool, step: float = 1.0) -> None:
        self._shown = shown
        self._step = step
        self._percent = 0.0
        self._printed = 0.0
        self._asked = False

    def __enter__(self) -> Self:
        if not self._shown:
            signal.signal(signal.SIGUSR1, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._shown:
            sys.stdout.write("\n")

    def report(self, share: float) -> None:
        """``share`` of all is done."""
        percent = self._percent = min(share * 100, 100.0)
        if abs(percent - self._printed) > self._step or percent in (0.0, 100.0):
            self._printed = percent
            if self._shown:
                sys.stdout.write(f"    ({percent:3.2f}/100%)\r")
                sys.stdout.flush()
            elif self._asked:
                self._asked = False
                from asyncemu.cli.tools.report import complain

                complain(f"    ({percent:3.2f}/100%)")

    def advance(self, share: float) -> None:
        """``share`` more of all is done, or so one says."""
        self.report(self._percent / 100 + share)

    def of(self, done: int, total: int) -> None:
        """As a driver reports: ``done`` of ``total``."""
        self.report(done / total if total else 1.0)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
