# SPDX-License-Identifier: GPL-2.0-or-later
"""CLINT: M-mode's timer and software interrupts (RISC-V ACLINT specification, the SiFive CLINT's layout).

Lives with the vCPUs: served at once on the vCPU's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

# ACLINT 1.0, section 1.1: MSWI, then MTIMER's compare registers, then the time.
MSIP: Final = 0x0
MTIMECMP: Final = 0x4000
MTIME: Final = 0xBFF8
SIZE: Final = 0x10000

#: The highest compare value: no time reaches it.
NEVER: Final = (1 << 64) - 1

#: Bits of MIP.
MSIP_LINE: Final = 1 << 3
MTIP_LINE: Final = 1 << 7


class ClintHart(Protocol):
    """What the CLINT drives. See RiscvCpu."""

    def set_line(self, line: int, level: bool) -> None: ...
    def set_timer(self, ticks: int, line: int) -> None: ...
    def time(self) -> int: ...


class Clint:
    """One for ``count`` harts, which may be put into the list ``harts`` later. While ``active`` is False, because our
    own SBI owns the harts' timers, writes change nothing but the registers."""

    size = SIZE

    def __init__(self, harts: Sequence[ClintHart], count: int) -> None:
        self._harts = harts
        self._count = count
        self.active = False
        self.reset()

    def reset(self) -> None:
        """Power-on: no interrupt, compare registers at their highest."""
        self._software = [0] * self._count
        self._compare = [NEVER] * self._count

    def mmio_read(self, offset: int, size: int) -> int:
        """Registers read in any aligned width up to theirs."""
        if offset >= MTIME:
            value, low = self._harts[0].time(), offset - MTIME
        elif offset >= MTIMECMP:
            hart, low = divmod(offset - MTIMECMP, 8)
            value = self._compare[hart] if hart < self._count else 0
        else:
            hart, low = divmod(offset - MSIP, 4)
            value = self._software[hart] if hart < self._count else 0
        return value >> 8 * low & ((1 << 8 * size) - 1)

    def mmio_write(self, offset: int, size: int, value: int) -> None:
        """A 64-bit register takes 32-bit halves too. The time can't be written."""
        if offset >= MTIME:
            return
        if offset >= MTIMECMP:
            hart, low = divmod(offset - MTIMECMP, 8)
            if hart < self._count:
                mask = ((1 << 8 * size) - 1) << 8 * low & NEVER
                self._compare[hart] = self._compare[hart] & ~mask | value << 8 * low & mask
                if self.active:
                    self._harts[hart].set_timer(self._compare[hart], MTIP_LINE)
        else:
            hart, low = divmod(offset - MSIP, 4)
            if hart < self._count and not low:
                self._software[hart] = value & 1
                if self.active:
                    self._harts[hart].set_line(MSIP_LINE, bool(value & 1))
