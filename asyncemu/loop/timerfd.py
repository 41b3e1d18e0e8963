# SPDX-License-Identifier: GPL-2.0-or-later
"""timerfd_create(2) and timerfd_settime(2), which Python has from 3.13 on."""

from __future__ import annotations

import ctypes
import os

_TFD_TIMER_ABSTIME = 1
_CLOCK_MONOTONIC = 1

#: The kernel's own end of time (KTIME_MAX), 292 years on. A guest may well ask for later. ns.
_FOREVER = (1 << 63) - 1

_libc = ctypes.CDLL(None, use_errno=True)
# By PyDLL, which keeps the GIL: the call takes less time than to get the GIL back from a busy thread.
_settime = ctypes.PyDLL(None).timerfd_settime


class TimerFd:
    """A file descriptor that becomes readable at a time of CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self.fd: int = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        # struct itimerspec: interval (s, ns), value (s, ns)
        self._spec = (ctypes.c_int64 * 4)()
        self._spec_pointer = ctypes.byref(self._spec)

    def arm(self, monotonic_ns: int) -> None:
        """Become readable at ``monotonic_ns``; a time that has passed is at once. Replaces the earlier setting."""
        seconds, nanoseconds = divmod(min(max(monotonic_ns, 1), _FOREVER), 1_000_000_000)
        self._spec[2] = seconds
        self._spec[3] = nanoseconds
        _settime(self.fd, _TFD_TIMER_ABSTIME, self._spec_pointer, None)

    def disarm(self) -> None:
        """Forget the setting."""
        self._spec[2] = self._spec[3] = 0
        _settime(self.fd, _TFD_TIMER_ABSTIME, self._spec_pointer, None)

    def acknowledge(self) -> None:
        """Take the readiness back after it has fired."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Give the file descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
