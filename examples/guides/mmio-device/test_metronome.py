# SPDX-License-Identifier: GPL-2.0-or-later
"""The metronome as the guest sees it, in a time that the test moves."""

from __future__ import annotations

from metronome import Metronome, MetronomeOptions

from asyncemu.loop import Clocks
from asyncemu.testing import DeviceBench, FakeClock

PERIOD, BEATS, ACK = 0x00, 0x08, 0x0C


async def test_two_beats_after_two_periods() -> None:
    time = FakeClock()
    async with DeviceBench(clocks=Clocks(time)) as bench:
        _, registers = await bench.add_mmio(Metronome, MetronomeOptions())
        await registers.write64(PERIOD, 5_000_000)
        await registers.read64(PERIOD)  # a read waits until what was written has been handled

        time.advance(9_999_999)
        assert await registers.read32(BEATS) == 1
        time.advance(1)

        assert await registers.read32(BEATS) == 2
        assert registers.irq.level
        await registers.write32(ACK, 1)
        assert not registers.irq.level
