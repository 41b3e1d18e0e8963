# SPDX-License-Identifier: GPL-2.0-or-later
"""RawTerminal: a terminal that passes every key on, and is what it was again whatever ends the process.

Who restores it when:
- ``leave``: the ordinary end, and an exception that unwinds to it;
- atexit: ``sys.exit`` and an exception that nobody caught;
- SIGTERM, SIGHUP, SIGQUIT: handlers of ours, where nobody else has one; the default action follows;
- SIGINT: Python's KeyboardInterrupt unwinds;
- SIGTSTP restores before the stop, SIGCONT makes it raw again.
SIGKILL can't be answered; ``stty sane`` helps.
Only the main thread can set signal handlers; elsewhere the first two remain.
"""

from __future__ import annotations

import atexit
import copy
import os
import signal
import termios
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Final

from asyncemu.chardev.inherited import InheritedDescriptor

_DEADLY: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# The places in what termios.tcgetattr returns.
_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6


def raw_attributes(attributes: list[Any], signals: bool) -> list[Any]:
    """``attributes`` (of termios.tcgetattr) changed so that each key is input at once and unchanged.

    ``signals``: Ctrl-C, Ctrl-\\ and Ctrl-Z stay signals. Output processing stays on, so that a lone newline of ours or
    of a guest begins a line.
    """
    raw = copy.deepcopy(attributes)
    raw[_IFLAG] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    raw[_OFLAG] |= termios.OPOST
    raw[_CFLAG] = raw[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[_LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN)
    if not signals:
        raw[_LFLAG] &= ~termios.ISIG
    raw[_CC][termios.VMIN] = 1
    raw[_CC][termios.VTIME] = 0
    return raw


class RawTerminal:
    """The terminal ``fd`` in raw mode from construction to ``leave``.

    ``descriptors`` lead to it: the flags that they share with other processes change along.
    """

    def __init__(self, fd: int, signals: bool, descriptors: Sequence[InheritedDescriptor] = ()) -> None:
        """Raises termios.error when ``fd`` is no terminal."""
        self._fd = fd
        self._descriptors = descriptors
        self._original = termios.tcgetattr(fd)
        self._raw = raw_attributes(self._original, signals)
        self._handled: list[signal.Signals] = []
        atexit.register(self.restore)
        if threading.current_thread() is threading.main_thread():
            for number in _DEADLY:
                self._handle(number, self._die)
            self._handle(signal.SIGTSTP, self._stop)
            self._handle(signal.SIGCONT, self._continue)
        self._make_raw()

    def _make_raw(self) -> None:
        self._set(self._raw)
        for descriptor in self._descriptors:
            descriptor.set_shared_blocking(False)

    def restore(self) -> None:
        """Make the terminal what it was."""
        self._set(self._original)
        for descriptor in self._descriptors:
            descriptor.set_shared_blocking(True)

    def leave(self) -> None:
        """Restore it, and forget it."""
        self.restore()
        atexit.unregister(self.restore)
        for number in self._handled:
            # The program may have set its own handler meanwhile; that one stays.
            if getattr(signal.getsignal(number), "__self__", None) is self:
                signal.signal(number, signal.SIG_DFL)
        self._handled.clear()

    def _set(self, attributes: list[Any]) -> None:
        if not self._in_foreground():
            # It is the shell's now, and the kernel would stop us for touching it (SIGTTOU).
            return
        try:
            # TCSANOW: the other ways wait for output, for ever after Ctrl-S.
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
        except termios.error:
            pass  # it hung up: there is nothing left to restore

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True  # not our controlling terminal: no job control

    # ---- signals

    def _handle(self, number: signal.Signals, handler: Callable[[int, FrameType | None], None]) -> None:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, handler)
            self._handled.append(number)

    def _die(self, number: int, _: FrameType | None) -> None:
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    def _stop(self, number: int, _: FrameType | None) -> None:
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)
        # Here the process has been stopped and goes on.
        signal.signal(number, self._stop)

    def _continue(self, _number: int, _frame: FrameType | None) -> None:
        self._make_raw()
