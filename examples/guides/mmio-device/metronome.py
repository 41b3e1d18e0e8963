# SPDX-License-Identifier: GPL-2.0-or-later
"""Metronome: an MMIO device that interrupts at a beat.

    0x00  period   ns of guest time from beat to beat, 64 bits; 0 stops it
    0x08  beats    how many there have been (read only)
    0x0c  ack      write anything: lower the interrupt

The board gives it an address, an interrupt, and a node in the device tree.
"""

from __future__ import annotations

from pydantic import Field

from asyncemu.devices import Environment, MmioDevice, reg
from asyncemu.options import Options


class MetronomeOptions(Options):
    """Keys in vm.toml."""

    fastest_ns: int = Field(default=1_000_000, ge=1000, description="Shorter periods last as long as this, in ns.")


class Metronome(MmioDevice[MetronomeOptions], name="metronome", size=0x1000):
    """Interrupts at a beat."""

    compatible = ("example,metronome",)
    period = reg(0x00, width=8)
    beats = reg(0x08, read_only=True)
    ack = reg(0x0C)

    def __init__(self, options: MetronomeOptions, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        self._timer = self.context.timer(self.clocks.virtual, self._beat)

    @period.on_write
    def _set_period(self, value: int) -> None:
        self._timer.cancel()
        if value:
            self._timer.mod(self.clocks.virtual.now() + self._step)

    @ack.on_bus_write
    def _lower(self, value: int) -> None:
        self.irq.set(False)

    def _beat(self) -> None:
        self.beats += 1
        self.irq.set(True)
        self._timer.mod(self.clocks.virtual.now() + self._step)

    @property
    def _step(self) -> int:
        return max(self.period, self.options.fastest_ns)

    async def reset(self) -> None:
        await super().reset()
        self._timer.cancel()
        self.irq.set(False)

    async def unrealize(self) -> None:
        self._timer.cancel()
        await super().unrealize()
