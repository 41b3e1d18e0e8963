# SPDX-License-Identifier: GPL-2.0-or-later
"""CLINT: software interrupts, compare registers and the time."""

from __future__ import annotations

import pytest

from asyncemu.devices.clint import MSIP_LINE, MTIME, MTIMECMP, MTIP_LINE, NEVER, Clint


class Hart:
    """Notes what the CLINT drives."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, bool]] = []
        self.timers: list[tuple[int, int]] = []

    def set_line(self, line: int, level: bool) -> None:
        self.lines.append((line, level))

    def set_timer(self, ticks: int, line: int) -> None:
        self.timers.append((ticks, line))

    def time(self) -> int:
        return 0x1122334455667788


class Bench:
    def __init__(self) -> None:
        self.harts = [Hart(), Hart()]
        self.clint = Clint(self.harts, 2)
        self.clint.active = True


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize("hart", [0, 1])
def test_msip_drives_its_hart_s_line(bench: Bench, hart: int) -> None:
    bench.clint.mmio_write(4 * hart, 4, 1)
    bench.clint.mmio_write(4 * hart, 4, 0)

    assert bench.harts[hart].lines == [(MSIP_LINE, True), (MSIP_LINE, False)]
    assert bench.harts[1 - hart].lines == []


def test_msip_keeps_one_bit(bench: Bench) -> None:
    bench.clint.mmio_write(0, 4, 0xFFFFFFFF)

    assert bench.clint.mmio_read(0, 4) == 1


def test_msip_upper_byte_written_alone_ignored(bench: Bench) -> None:
    bench.clint.mmio_write(1, 1, 1)

    assert (bench.clint.mmio_read(0, 4), bench.harts[0].lines) == (0, [])


def test_mtimecmp_at_power_on_never(bench: Bench) -> None:
    assert bench.clint.mmio_read(MTIMECMP, 8) == NEVER


def test_mtimecmp_sets_its_hart_s_timer(bench: Bench) -> None:
    bench.clint.mmio_write(MTIMECMP + 8, 8, 1234)

    assert bench.harts[1].timers == [(1234, MTIP_LINE)]


def test_mtimecmp_in_halves(bench: Bench) -> None:
    bench.clint.mmio_write(MTIMECMP, 4, 0x55667788)
    bench.clint.mmio_write(MTIMECMP + 4, 4, 0x11223344)

    assert bench.harts[0].timers[-1] == (0x1122334455667788, MTIP_LINE)
    assert [bench.clint.mmio_read(MTIMECMP + offset, 4) for offset in (0, 4)] == [0x55667788, 0x11223344]


def test_mtimecmp_64_bits_at_upper_half_stays_within_register(bench: Bench) -> None:
    bench.clint.mmio_write(MTIMECMP + 4, 8, NEVER)

    assert bench.harts[0].timers == [(NEVER, MTIP_LINE)]


@pytest.mark.parametrize(
    ("offset", "size", "value"), [(0, 8, 0x1122334455667788), (0, 4, 0x55667788), (4, 4, 0x11223344)]
)
def test_mtime_reads_in_halves(bench: Bench, offset: int, size: int, value: int) -> None:
    assert bench.clint.mmio_read(MTIME + offset, size) == value


def test_mtime_ignores_write(bench: Bench) -> None:
    bench.clint.mmio_write(MTIME, 8, 0)

    assert bench.clint.mmio_read(MTIME, 8) == 0x1122334455667788


@pytest.mark.parametrize("offset", [8, 0x3FFC, MTIMECMP + 16, MTIME - 8])
def test_hart_that_does_not_exist_reads_zero_and_ignores_writes(bench: Bench, offset: int) -> None:
    bench.clint.mmio_write(offset, 4, 1)

    assert bench.clint.mmio_read(offset, 4) == 0


def test_not_active_keeps_registers_and_drives_nothing(bench: Bench) -> None:
    bench.clint.active = False
    bench.clint.mmio_write(0, 4, 1)
    bench.clint.mmio_write(MTIMECMP, 8, 5)

    assert (bench.clint.mmio_read(0, 4), bench.clint.mmio_read(MTIMECMP, 8)) == (1, 5)
    assert (bench.harts[0].lines, bench.harts[0].timers) == ([], [])


def test_reset_gives_power_on_values(bench: Bench) -> None:
    bench.clint.mmio_write(0, 4, 1)
    bench.clint.mmio_write(MTIMECMP, 8, 5)
    bench.clint.reset()

    assert (bench.clint.mmio_read(0, 4), bench.clint.mmio_read(MTIMECMP, 8)) == (0, NEVER)
