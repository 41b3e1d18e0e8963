# SPDX-License-Identifier: GPL-2.0-or-later
"""Goldfish RTC, on a clock that stands at 1000 s after 1970."""

from __future__ import annotations

import pytest

from asyncemu.devices.goldfish_rtc import GoldfishRtc, RtcChange
from asyncemu.options import Options
from asyncemu.testing import DeviceBench, DeviceRegisters
from asyncemu.testing.fake_clock import FakeClock

SECOND = 1_000_000_000
NOW = 1000 * SECOND

TIME, ALARM = 0x00, 0x08
IRQ_ENABLED, CLEAR_ALARM, ALARM_STATUS, CLEAR_INTERRUPT = 0x10, 0x14, 0x18, 0x1C


async def read_time(rtc: DeviceRegisters) -> int:
    low = await rtc.read32(TIME)
    return await rtc.read32(TIME + 4) << 32 | low


async def write_pair(rtc: DeviceRegisters, offset: int, value: int) -> None:
    """The high half first: the low half makes it count."""
    await rtc.write32(offset + 4, value >> 32)
    await rtc.write32(offset, value & 0xFFFFFFFF)


@pytest.fixture
async def rtc(timed_bench: DeviceBench) -> DeviceRegisters:
    _, registers = await timed_bench.add_mmio(GoldfishRtc, Options())
    await registers.write32(IRQ_ENABLED, 1)
    return registers


async def test_time_is_the_host_s(rtc: DeviceRegisters, time: FakeClock) -> None:
    time.advance(5)

    assert await read_time(rtc) == NOW + 5


async def test_time_low_read_latches_high(rtc: DeviceRegisters, time: FakeClock) -> None:
    time.set_wall((1 << 32) - 1)
    low = await rtc.read32(TIME)
    time.advance(1)

    assert (low, await rtc.read32(TIME + 4)) == (0xFFFFFFFF, 0)


async def test_time_set_goes_on_from_there(rtc: DeviceRegisters, time: FakeClock) -> None:
    await write_pair(rtc, TIME, 7 * SECOND)
    time.advance(SECOND)

    assert await read_time(rtc) == 8 * SECOND


async def test_time_set_survives_reset(rtc: DeviceRegisters, timed_bench: DeviceBench) -> None:
    await write_pair(rtc, TIME, 7 * SECOND)
    await timed_bench.reset()

    assert await read_time(rtc) == 7 * SECOND


async def test_alarm_rings_at_its_time_and_not_before(rtc: DeviceRegisters, time: FakeClock) -> None:
    await write_pair(rtc, ALARM, NOW + SECOND)
    time.advance(SECOND - 1)
    before = (rtc.irq.level, await rtc.read32(ALARM_STATUS))
    time.advance(1)

    assert (before, rtc.irq.level, await rtc.read32(ALARM_STATUS)) == ((False, 1), True, 0)


async def test_alarm_in_the_past_rings_at_once(rtc: DeviceRegisters, time: FakeClock) -> None:
    await write_pair(rtc, ALARM, 1)
    time.advance(0)

    assert rtc.irq.level


async def test_alarm_cleared_does_not_ring(rtc: DeviceRegisters, time: FakeClock) -> None:
    await write_pair(rtc, ALARM, NOW + SECOND)
    await rtc.write32(CLEAR_ALARM, 1)
    time.advance(2 * SECOND)

    assert (rtc.irq.level, await rtc.read32(ALARM_STATUS)) == (False, 0)


async def test_alarm_interrupt_not_enabled_waits_until_it_is(rtc: DeviceRegisters, time: FakeClock) -> None:
    await rtc.write32(IRQ_ENABLED, 0)
    await write_pair(rtc, ALARM, NOW + SECOND)
    time.advance(SECOND)
    before = rtc.irq.level
    await rtc.write32(IRQ_ENABLED, 1)

    assert (before, rtc.irq.level) == (False, True)


async def test_alarm_interrupt_acknowledged_goes_down(rtc: DeviceRegisters, time: FakeClock) -> None:
    await write_pair(rtc, ALARM, NOW)
    time.advance(0)
    await rtc.write32(CLEAR_INTERRUPT, 1)

    assert not rtc.irq.level


async def test_alarm_follows_when_the_guest_sets_its_time(rtc: DeviceRegisters, time: FakeClock) -> None:
    await write_pair(rtc, ALARM, NOW + SECOND)
    await write_pair(rtc, TIME, NOW - 10 * SECOND)
    time.advance(SECOND)
    early = rtc.irq.level
    time.advance(10 * SECOND)

    assert (early, rtc.irq.level) == (False, True)


async def test_alarm_comes_nearer_when_the_guest_sets_its_time(rtc: DeviceRegisters, time: FakeClock) -> None:
    await write_pair(rtc, ALARM, NOW + 10 * SECOND)
    await write_pair(rtc, TIME, NOW + 9 * SECOND)
    time.advance(SECOND)

    assert rtc.irq.level


@pytest.mark.parametrize("alarm", [(1 << 64) - 1, 1 << 63])
async def test_alarm_at_the_end_of_time_does_not_ring(rtc: DeviceRegisters, time: FakeClock, alarm: int) -> None:
    await write_pair(rtc, ALARM, alarm)
    time.advance(SECOND)

    assert (rtc.irq.level, await rtc.read32(ALARM_STATUS)) == (False, 1)


async def test_alarm_at_the_end_of_time_on_the_kernel_s_clock_taken(bench: DeviceBench) -> None:
    _, rtc = await bench.add_mmio(GoldfishRtc, Options())
    await write_pair(rtc, ALARM, (1 << 64) - 1)

    assert await rtc.read32(ALARM_STATUS) == 1


async def test_reset_takes_alarm_and_interrupt_away(
    rtc: DeviceRegisters, timed_bench: DeviceBench, time: FakeClock
) -> None:
    await write_pair(rtc, ALARM, NOW)
    time.advance(0)
    await write_pair(rtc, ALARM, NOW + SECOND)
    await timed_bench.reset()
    time.advance(SECOND)
    await rtc.write32(IRQ_ENABLED, 1)

    assert not rtc.irq.level


async def test_time_set_is_told(rtc: DeviceRegisters, timed_bench: DeviceBench) -> None:
    await write_pair(rtc, TIME, NOW + 90 * SECOND)

    assert timed_bench.platform.events == [RtcChange(offset=90, qom_path="/machine/unattached/goldfish-rtc0")]
