# SPDX-License-Identifier: GPL-2.0-or-later
"""The categories of trace events. Hot paths write the strings out; what reads a trace uses these names."""

from __future__ import annotations

from typing import Final

#: A bottom half's callback.
BH: Final = "bh"
#: The handler of a file descriptor.
HANDLER: Final = "handler"
#: A timer's callback.
TIMER: Final = "timer"
#: A coroutine, one step: from where it is entered to where it suspends.
COROUTINE: Final = "coroutine"
#: A virtqueue that is served after its doorbell.
DOORBELL: Final = "doorbell"
#: Writes of a guest that were posted to the device's home.
POSTED: Final = "posted"
#: A vCPU inside the guest.
GUEST: Final = "guest"
#: A vCPU asleep: its guest waits for an interrupt, or the machine is paused.
HALT: Final = "halt"
#: A vCPU that waits for a home context.
FENCE: Final = "fence"
#: A vCPU that serves an access of its guest to a device.
MMIO: Final = "mmio"
#: A call in a worker thread.
WORKER: Final = "worker"
#: Busy polling of a loop.
POLL: Final = "poll"
#: A loop that was held for too long (instants, of the stall detector's thread).
STALL: Final = "stall"

#: All of them.
ALL: Final = frozenset({BH, HANDLER, TIMER, COROUTINE, DOORBELL, POSTED, GUEST, HALT, FENCE, MMIO, WORKER, POLL, STALL})

#: A thread with one of these runs a loop ...
LOOP: Final = frozenset({BH, HANDLER, TIMER, DOORBELL, POSTED, POLL})
#: ... with one of these a guest's CPU.
VCPU: Final = (GUEST, HALT, FENCE, MMIO)
