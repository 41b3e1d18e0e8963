# SPDX-License-Identifier: GPL-2.0-or-later
"""GuestCpu: what a vCPU thread asks of the accelerator below it, and what happens to it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from asyncemu.errors import GuestError


class Exit(enum.Enum):
    """Why ``GuestCpu.execute`` came back."""

    #: Somebody asked for it (``interrupt``), or the accelerator needs its caller's loop.
    STOPPED = "stopped"
    #: The guest waits for an interrupt (WFI, HLT).
    HALTED = "halted"


class GuestFault(GuestError):
    """The guest did what no trap handler can take; the machine can't go on with it."""


class GuestCpu(Protocol):
    """One hart or CPU under some accelerator. Its vCPU's thread calls it, but for ``interrupt``."""

    #: Called when an interrupt line rises: the vCPU shall leave the guest or wake. Any thread. Set by VCpu.
    on_line_raised: Callable[[], None]

    #: Called with the next deadline of the guest's own timer, ns of the VIRTUAL clock. vCPU thread. Set by VCpu.
    on_deadline: Callable[[int], None]

    def execute(self) -> Exit:
        """Run guest code until it halts or somebody interrupts. Raises GuestFault."""

    def interrupt(self) -> None:
        """Make a running ``execute`` return at an instruction boundary, exactly. Lost when it is not running yet: the
        caller asks again. Any thread."""

    def wake_time(self) -> int | None:
        """When a halted guest has to go on, ns of the VIRTUAL clock: 0, now; None, only for an interrupt from
        outside."""

    def deadline(self) -> int | None:
        """When the guest's own timer raises its line next, ns of the VIRTUAL clock; None: it is up, or not set. Any
        thread."""

    def clock_changed(self) -> None:
        """Guest time has been stopped or started since the last ``execute``."""

    def reset(self) -> None:
        """Back to the state of power-on. The thread that calls it owns the registers from then on."""

    def registers(self) -> dict[str, int]:
        """All registers, by name, unsigned. Outside the guest."""

    def statistics(self) -> dict[str, int]:
        """Counters by name. Any thread."""
