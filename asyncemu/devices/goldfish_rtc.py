# SPDX-License-Identifier: GPL-2.0-or-later
"""Goldfish RTC: wall-clock time in ns and one alarm (Linux: drivers/rtc/rtc-goldfish.c and its device tree binding)."""

from __future__ import annotations

from asyncemu.devices.device import Environment
from asyncemu.devices.mmio_device import MmioDevice
from asyncemu.devices.register import reg
from asyncemu.events import Event
from asyncemu.options import Options


class RtcChange(Event, name="RTC_CHANGE"):
    """The guest has set its clock."""

    rate_limit_ns = 1_000_000_000

    #: Seconds that it is ahead of the host's.
    offset: int
    #: Where the clock is in the tree of objects.
    qom_path: str


class GoldfishRtc(MmioDevice[Options], name="goldfish-rtc", size=0x1000):
    """Real-time clock with an alarm.

    Times are 64-bit ns since 1970 in two halves: reading the low half latches the high one; writing the low half of the
    alarm arms it. The guest may set the time, which shifts it against the host's.
    """

    description = "Real-time clock with an alarm."

    compatible = ("google,goldfish-rtc",)

    time_low = reg(0x00)
    time_high = reg(0x04)
    alarm_low = reg(0x08)
    alarm_high = reg(0x0C)
    irq_enabled = reg(0x10)
    clear_alarm = reg(0x14)
    alarm_status = reg(0x18, read_only=True)
    clear_interrupt = reg(0x1C)

    def __init__(self, options: Options, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        #: ns between the guest's wall clock and the host's; survives a reset, as a clock with a battery does.
        self._offset = 0
        #: When the alarm rings, in the guest's ns; None while it is off.
        self._armed_for: int | None = None
        self._pending = False
        self._alarm = self.context.timer(self.clocks.host, self._alarm_fired)

    async def reset(self) -> None:
        await super().reset()
        with self.lock:
            self._disarm(0)
            self._pending = False
            self._update()

    async def unrealize(self) -> None:
        self._alarm.cancel()
        await super().unrealize()

    def _now(self) -> int:
        return self.clocks.host.now() + self._offset

    @time_low.on_bus_read
    def _read_time(self) -> int:
        now = self._now()
        self.time_high = now >> 32
        return now

    @time_low.on_bus_write
    def _set_time(self, value: int) -> None:
        self._offset += (self.time_high << 32 | value) - self._now()
        self.environment.platform.emit(RtcChange(offset=round(self._offset / 1e9), qom_path=self.qom_path))
        if self._armed_for is not None:
            self._ring_at(self._armed_for)

    @alarm_low.on_bus_write
    def _arm(self, value: int) -> None:
        self.alarm_low = value
        self.alarm_status = 1
        self._ring_at(self.alarm_high << 32 | value)

    def _ring_at(self, time: int) -> None:
        self._armed_for = time
        self._alarm.mod(time - self._offset)

    @clear_alarm.on_bus_write
    def _disarm(self, value: int) -> None:
        self.alarm_status = 0
        self._armed_for = None
        self._alarm.cancel()

    @irq_enabled.on_bus_write
    def _enable(self, value: int) -> None:
        self.irq_enabled = value & 1
        self._update()

    @clear_interrupt.on_bus_write
    def _acknowledge(self, value: int) -> None:
        self._pending = False
        self._update()

    def _alarm_fired(self) -> None:
        with self.lock:
            # A vCPU may have disarmed or moved it since the timer ran out, or the host's clock been set back.
            if self._armed_for is None:
                return
            if self._armed_for > self._now():
                self._ring_at(self._armed_for)
                return
            self._disarm(0)
            self._pending = True
            self._update()

    def _update(self) -> None:
        self.irq.set(self._pending and bool(self.irq_enabled))
