# SPDX-License-Identifier: GPL-2.0-or-later
"""SiFive test finisher: power-off and reboot."""

from __future__ import annotations

import pytest

from asyncemu.devices.sifive_test import SifiveTest
from asyncemu.options import Options
from asyncemu.testing import DeviceBench


@pytest.mark.parametrize(
    ("value", "shutdowns", "resets"),
    [(0x5555, [False], 0), (0x3333, [True], 0), (0x0001_3333, [True], 0), (0x7777, [], 1), (0, [], 0), (0x1234, [], 0)],
)
async def test_finisher_asks_the_machine(bench: DeviceBench, value: int, shutdowns: list[bool], resets: int) -> None:
    _, registers = await bench.add_mmio(SifiveTest, Options())

    await registers.write32(0, value)

    assert (bench.platform.shutdowns, bench.platform.resets) == (shutdowns, resets)


async def test_finisher_reads_zero(bench: DeviceBench) -> None:
    _, registers = await bench.add_mmio(SifiveTest, Options())

    assert await registers.read32(0) == 0
