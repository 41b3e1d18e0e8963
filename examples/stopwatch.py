# SPDX-License-Identifier: GPL-2.0-or-later
"""An MMIO device of your own: a stopwatch in guest time, with a lap interrupt.

In vm.toml (the path is relative to that file):

    [[device]]
    id = "stopwatch0"
    plugin = "examples/stopwatch.py:Stopwatch"
    lap-ms = 250

The board gives it a page of addresses and an interrupt, and a device tree node compatible with "example,stopwatch".

    0x00  control   write 1: start from zero, 0: stop
    0x04  laps      laps since the start (read only)
    0x08  elapsed   ns since the start, 64 bits (read only)
    0x10  ack       write anything: lower the interrupt
"""

from __future__ import annotations

from pydantic import Field

from asyncemu.devices import Environment, MmioDevice, reg
from asyncemu.options import Options


class StopwatchOptions(Options):
    """Keys in vm.toml."""

    lap_ms: int = Field(
        default=1000, ge=1, description="An interrupt each time this many ms of guest time have passed."
    )


class Stopwatch(MmioDevice[StopwatchOptions], name="stopwatch", size=0x1000):
    """Stopwatch with a lap interrupt."""

    compatible = ("example,stopwatch",)

    control = reg(0x00)
    laps = reg(0x04, read_only=True)
    elapsed = reg(0x08, width=8, read_only=True)
    ack = reg(0x10)

    def __init__(self, options: StopwatchOptions, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        self._lap_timer = self.context.timer(self.clocks.virtual, self._lap)
        self._started = 0
        self._stopped_at = 0

    # Handlers run on the event loop, one after the other: nothing needs a lock. They may be coroutines, too.

    @control.on_write
    def _control(self, value: int) -> None:
        if value:
            self.laps = 0
            self._started = self.clocks.virtual.now()
            self._lap_timer.mod(self._started + self._lap_ns)
        else:
            self._stopped_at = self.clocks.virtual.now() - self._started
            self._lap_timer.cancel()

    @elapsed.on_read
    def _elapsed(self) -> int:
        return self.clocks.virtual.now() - self._started if self._lap_timer.pending else self._stopped_at

    # Lowering an interrupt must not be late, or the guest takes it twice: on the vCPU's thread, at once.

    @ack.on_bus_write
    def _ack(self, value: int) -> None:
        self.irq.set(False)

    def _lap(self) -> None:
        self.laps += 1
        self._lap_timer.mod(self._started + (self.laps + 1) * self._lap_ns)
        self.irq.set(True)

    @property
    def _lap_ns(self) -> int:
        return self.options.lap_ms * 1_000_000

    async def reset(self) -> None:
        await super().reset()
        self._lap_timer.cancel()
        self._stopped_at = 0
        self.irq.set(False)

    async def unrealize(self) -> None:
        self._lap_timer.cancel()
        await super().unrealize()
