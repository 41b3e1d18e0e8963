# SPDX-License-Identifier: GPL-2.0-or-later
"""PLIC: the platform-level interrupt controller of RISC-V boards (RISC-V PLIC specification 1.0.0).

Lives with the vCPUs: everything is done at once under one lock, on whichever thread comes. Sources and sets of sources
are bit masks in ints. A source is pending while its line is high and nobody has claimed it, which is what QEMU does and
what level-triggered devices need.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from asyncemu.loop import any_thread
from asyncemu.vcpu.irq import IrqLine

# Memory map: PLIC 1.0.0, chapter 3.
PRIORITY: Final = 0x0
PENDING: Final = 0x1000
ENABLE: Final = 0x2000
ENABLE_STRIDE: Final = 0x80
CONTEXT: Final = 0x200000
CONTEXT_STRIDE: Final = 0x1000
CLAIM: Final = 4

#: Priorities 0 (never) to 7, as on QEMU's virt board.
PRIORITY_MASK: Final = 7


class Plic:
    """``outputs`` are called with a level, one for each context (a hart's M-mode, its S-mode, the next hart's ...)."""

    def __init__(self, sources: int, outputs: list[Callable[[bool], None]]) -> None:
        self.sources = sources
        self.size = CONTEXT + CONTEXT_STRIDE * len(outputs)
        self._outputs = outputs
        #: Called with a source and its new level, under the lock; must not wait. For those who watch the wires.
        self.on_line: Callable[[int, bool], None] | None = None
        self._lock = threading.RLock()
        self._levels = 0
        self._driven = [False] * len(outputs)
        self.reset()

    def reset(self) -> None:
        """Power-on: nothing enabled; the devices' lines are as they are."""
        with self._lock:
            self._claimed = 0
            self._priority = [0] * (self.sources + 1)
            self._enabled = [0] * len(self._outputs)
            self._threshold = [0] * len(self._outputs)
            self._drive()

    def line(self, source: int, name: str) -> IrqLine:
        """The wire of ``source`` (1 is the first)."""
        if not 0 < source <= self.sources:
            raise ValueError(f"the PLIC has sources 1 to {self.sources}, not {source}")
        bit = 1 << source
        return IrqLine(lambda level: self._set_level(bit, level), name)

    @any_thread
    def _set_level(self, bit: int, level: bool) -> None:
        with self._lock:
            before = self._levels
            self._levels = before | bit if level else before & ~bit
            if self._levels != before:
                self._drive()
                if (on_line := self.on_line) is not None:
                    on_line(bit.bit_length() - 1, level)

    def _best(self, context: int, threshold: int) -> int:
        """The source to serve next in ``context``, or 0: highest priority above ``threshold``, then lowest number."""
        candidates = self._levels & ~self._claimed & self._enabled[context]
        best, best_priority = 0, threshold
        while candidates:
            source = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            if self._priority[source] > best_priority:
                best, best_priority = source, self._priority[source]
        return best

    def _drive(self) -> None:
        for context, output in enumerate(self._outputs):
            level = self._best(context, self._threshold[context]) != 0
            if level != self._driven[context]:
                self._driven[context] = level
                output(level)

    # ---- the bus face

    @any_thread
    def mmio_read(self, offset: int, size: int) -> int:
        """Aligned 32-bit registers; what is not there reads as zero."""
        if size != 4 or offset % 4:
            return 0
        with self._lock:
            if offset < PENDING:
                source = offset // 4
                return self._priority[source] if source <= self.sources else 0
            if offset < ENABLE:
                return self._word(self._levels & ~self._claimed, offset - PENDING)
            if offset < CONTEXT:
                context, rest = divmod(offset - ENABLE, ENABLE_STRIDE)
                return self._word(self._enabled[context], rest) if context < len(self._enabled) else 0
            context, rest = divmod(offset - CONTEXT, CONTEXT_STRIDE)
            if context >= len(self._enabled):
                return 0
            if rest == 0:
                return self._threshold[context]
            return self._claim(context) if rest == CLAIM else 0

    @any_thread
    def mmio_write(self, offset: int, size: int, value: int) -> None:
        """Aligned 32-bit registers; what is not there ignores writes."""
        if size != 4 or offset % 4:
            return
        with self._lock:
            if offset < PENDING:
                source = offset // 4
                if 0 < source <= self.sources:
                    self._priority[source] = value & PRIORITY_MASK
            elif ENABLE <= offset < CONTEXT:
                context, rest = divmod(offset - ENABLE, ENABLE_STRIDE)
                # Source 0 does not exist, and its bit can't be set.
                valid = ((1 << self.sources + 1) - 2) & (0xFFFFFFFF << 8 * rest)
                if context < len(self._enabled):
                    shifted = value << 8 * rest
                    self._enabled[context] = self._enabled[context] & ~valid | shifted & valid
            elif offset >= CONTEXT:
                context, rest = divmod(offset - CONTEXT, CONTEXT_STRIDE)
                if context >= len(self._enabled):
                    return
                if rest == 0:
                    self._threshold[context] = value & PRIORITY_MASK
                elif rest == CLAIM and 0 < value <= self.sources and self._enabled[context] >> value & 1:
                    self._claimed &= ~(1 << value)
            self._drive()

    def _claim(self, context: int) -> int:
        # "Interrupt Claim Process": the threshold masks the notification, a claim is not affected by it.
        source = self._best(context, 0)
        if source:
            self._claimed |= 1 << source
            self._drive()
        return source

    @staticmethod
    def _word(mask: int, offset: int) -> int:
        return mask >> 8 * offset & 0xFFFFFFFF
