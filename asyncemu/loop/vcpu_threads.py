# SPDX-License-Identifier: GPL-2.0-or-later
"""Which vCPU threads this process has, and which of them are in the guest: polling keeps out of their way."""

from __future__ import annotations

from typing import Final


class VcpuThread:
    """One vCPU thread. ``in_guest`` is written by that thread only, and read by all."""

    __slots__ = ("in_guest",)

    def __init__(self) -> None:
        self.in_guest = False


#: Changed by append and remove only, each of which is one step under the GIL.
_threads: Final[list[VcpuThread]] = []


def add_vcpu_thread(thread: VcpuThread) -> None:
    """A vCPU thread has started. Any thread."""
    _threads.append(thread)


def remove_vcpu_thread(thread: VcpuThread) -> None:
    """It has ended. Any thread."""
    _threads.remove(thread)


def any_in_guest() -> bool:
    """Is one of them in the guest? Any thread; the answer may be old when it arrives."""
    # A third of the time that any() takes, and each callback of a context that polls asks.
    for thread in _threads:  # noqa: SIM110
        if thread.in_guest:
            return True
    return False
