# SPDX-License-Identifier: GPL-2.0-or-later
"""EventNotifier: an eventfd that any thread, process or kernel part may ring and one context hears."""

from __future__ import annotations

import os
from collections.abc import Callable

from asyncemu.loop.markers import any_thread

#: eventfd_write(3), once somebody has rung.
_eventfd_write: Callable[[int, int], int] | None = None


def _find_eventfd_write() -> Callable[[int, int], int]:
    # os.eventfd_write gives up the GIL for a system call that never waits, and the thread that it wakes takes it at
    # once: the caller, often a vCPU in the middle of an MMIO access, then waits for that thread. A PyDLL keeps the GIL.
    # Imported here: a tool may end before anybody rings.
    import ctypes

    global _eventfd_write
    function = ctypes.PyDLL(None).eventfd_write
    function.argtypes = (ctypes.c_int, ctypes.c_uint64)
    _eventfd_write = function
    return function


class EventNotifier:
    """QEMU's EventNotifier. Rings that come before the listener looks are heard once.

    Owns a file descriptor until ``close``. See eventfd(2).
    """

    def __init__(self, active: bool = False) -> None:
        self.fd = os.eventfd(1 if active else 0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    @any_thread
    def set(self) -> None:
        """Ring. Never blocks: a counter that is full already says all there is to say."""
        (_eventfd_write or _find_eventfd_write())(self.fd, 1)

    @any_thread
    def test_and_clear(self) -> bool:
        """Has it been rung since the last look?"""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Give the file descriptor back; the notifier is dead afterwards."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
