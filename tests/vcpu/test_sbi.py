# SPDX-License-Identifier: GPL-2.0-or-later
"""The supervisor binary interface, call by call."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.vcpu import sbi
from asyncemu.vcpu.sbi import Sbi
from tests.vcpu.bench import BASE, RAM_SIZE, FakePlatform

ALL_ONES = (1 << 64) - 1


class FakeHart:
    """The calling hart: remembers what it is asked for."""

    hart_id = 0

    def __init__(self) -> None:
        self.timers: list[tuple[int, int]] = []
        self.software_interrupts = 0
        self.stops = 0

    def set_timer(self, ticks: int, line: int) -> None:
        self.timers.append((ticks, line))

    def raise_software_interrupt(self) -> None:
        self.software_interrupts += 1

    def stop_in_callback(self) -> None:
        self.stops += 1


class Bench:
    """An Sbi with RAM, a fake hart and a fake machine."""

    def __init__(self) -> None:
        self.memory = AddressSpace()
        self.ram = GuestRam(RAM_SIZE)
        self.memory.add_ram(BASE, self.ram)
        self.platform = FakePlatform()
        self.hart = FakeHart()
        self.sbi = Sbi(self.platform, self.memory)

    def call(self, extension: int, function: int, *arguments: int) -> tuple[int, int]:
        padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
        return self.sbi.call(self.hart, [*padded, function, extension])


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.ram.close()


def test_base_spec_version_is_2_0(bench: Bench) -> None:
    assert bench.call(sbi.BASE, 0) == (0, 0x0200_0000)


@pytest.mark.parametrize(
    "extension", [sbi.BASE, sbi.TIME, sbi.IPI, sbi.RFENCE, sbi.HSM, sbi.SRST, sbi.DBCN, 0, 1, 2, 8]
)
def test_base_probe_of_what_is_there_is_1(bench: Bench, extension: int) -> None:
    assert bench.call(sbi.BASE, 3, extension) == (0, 1)


@pytest.mark.parametrize("extension", [0x9, 0x504D55, 0x12345678])
def test_base_probe_of_what_is_not_there_is_0(bench: Bench, extension: int) -> None:
    assert bench.call(sbi.BASE, 3, extension) == (0, 0)


@pytest.mark.parametrize("function", [4, 5, 6])
def test_base_machine_ids_are_not_implemented_values(bench: Bench, function: int) -> None:
    assert bench.call(sbi.BASE, function) == (0, 0)


def test_unknown_extension_is_not_supported(bench: Bench) -> None:
    assert bench.call(0x0A000000, 0) == (sbi.NOT_SUPPORTED, 0)


@pytest.mark.parametrize("extension", [sbi.BASE, sbi.TIME, sbi.IPI, sbi.RFENCE, sbi.HSM, sbi.SRST, sbi.DBCN])
def test_unknown_function_is_not_supported(bench: Bench, extension: int) -> None:
    assert bench.call(extension, 99) == (sbi.NOT_SUPPORTED, 0)


def test_time_sets_the_supervisor_timer(bench: Bench) -> None:
    assert bench.call(sbi.TIME, 0, 12345) == (0, 0)
    assert bench.hart.timers == [(12345, 1 << 5)]


@pytest.mark.parametrize(("mask", "base"), [(1, 0), (0, ALL_ONES)])
def test_ipi_to_this_hart_raises_its_software_interrupt(bench: Bench, mask: int, base: int) -> None:
    assert bench.call(sbi.IPI, 0, mask, base) == (0, 0)
    assert bench.hart.software_interrupts == 1


def test_ipi_to_nobody_does_nothing(bench: Bench) -> None:
    assert bench.call(sbi.IPI, 0, 0, 0) == (0, 0)
    assert bench.hart.software_interrupts == 0


@pytest.mark.parametrize(("mask", "base"), [(2, 0), (1, 1), (1, 1 << 40)])
def test_ipi_to_a_hart_that_is_not_there_is_invalid(bench: Bench, mask: int, base: int) -> None:
    assert bench.call(sbi.IPI, 0, mask, base) == (sbi.INVALID_PARAM, 0)


@pytest.mark.parametrize("function", [0, 1, 2])
def test_remote_fence_to_this_hart_succeeds(bench: Bench, function: int) -> None:
    assert bench.call(sbi.RFENCE, function, 1, 0, BASE, 4096) == (0, 0)


def test_remote_fence_to_a_hart_that_is_not_there_is_invalid(bench: Bench) -> None:
    assert bench.call(sbi.RFENCE, 0, 4, 0) == (sbi.INVALID_PARAM, 0)


def test_hart_state_start_of_this_hart_is_already_available(bench: Bench) -> None:
    assert bench.call(sbi.HSM, 0, 0, BASE, 0) == (sbi.ALREADY_AVAILABLE, 0)


def test_hart_state_start_of_a_hart_that_is_not_there_is_invalid(bench: Bench) -> None:
    assert bench.call(sbi.HSM, 0, 1, BASE, 0) == (sbi.INVALID_PARAM, 0)


def test_hart_state_status_of_this_hart_is_started(bench: Bench) -> None:
    assert bench.call(sbi.HSM, 2, 0) == (0, 0)


def test_hart_state_non_retentive_suspend_is_not_supported(bench: Bench) -> None:
    assert bench.call(sbi.HSM, 3, 0x80000000) == (sbi.NOT_SUPPORTED, 0)


@pytest.mark.parametrize(
    ("kind", "reason", "request_"),
    [(0, 0, "shutdown"), (0, 1, "failure"), (1, 0, "reset"), (2, 0, "reset")],
)
def test_system_reset_asks_the_machine_and_leaves_the_guest(
    bench: Bench, kind: int, reason: int, request_: str
) -> None:
    assert bench.call(sbi.SRST, 0, kind, reason) == (0, 0)
    assert bench.platform.requests == [request_]
    assert bench.hart.stops == 1


def test_system_reset_of_an_unknown_kind_is_invalid(bench: Bench) -> None:
    assert bench.call(sbi.SRST, 0, 7, 0) == (sbi.INVALID_PARAM, 0)
    assert bench.platform.requests == []


def test_debug_console_write_passes_ram_on(bench: Bench) -> None:
    bench.memory.write(BASE + 100, b"hello")

    assert bench.call(sbi.DBCN, 0, 5, BASE + 100) == (0, 5)
    assert bench.platform.output == b"hello"


def test_debug_console_write_to_a_stuck_console_says_how_much_went(bench: Bench) -> None:
    bench.platform.room = 3

    assert bench.call(sbi.DBCN, 0, 5, BASE) == (0, 3)


def test_debug_console_write_byte_to_a_stuck_console_fails(bench: Bench) -> None:
    bench.platform.room = 0

    assert bench.call(sbi.DBCN, 2, ord("x")) == (sbi.FAILED, 0)


def test_debug_console_write_of_too_much_takes_a_part(bench: Bench) -> None:
    assert bench.call(sbi.DBCN, 0, 1 << 19, BASE) == (0, sbi.MAX_CONSOLE_BYTES)


@pytest.mark.parametrize("function", [0, 1])
@pytest.mark.parametrize(
    ("length", "low", "high"),
    [(16, 0, 0), (16, BASE + RAM_SIZE - 8, 0), (16, ALL_ONES - 4, 0), (16, BASE, 1)],
)
def test_debug_console_outside_ram_is_invalid(bench: Bench, function: int, length: int, low: int, high: int) -> None:
    bench.platform.input += b"x" * 16

    assert bench.call(sbi.DBCN, function, length, low, high) == (sbi.INVALID_PARAM, 0)


def test_debug_console_read_puts_input_into_ram(bench: Bench) -> None:
    bench.platform.input += b"typed"

    assert bench.call(sbi.DBCN, 1, 64, BASE) == (0, 5)
    assert bench.memory.read(BASE, 5) == b"typed"


def test_debug_console_write_byte_passes_it_on(bench: Bench) -> None:
    assert bench.call(sbi.DBCN, 2, 0x141) == (0, 0)
    assert bench.platform.output == b"A"


def test_legacy_set_timer_sets_the_supervisor_timer(bench: Bench) -> None:
    assert bench.call(sbi.LEGACY_SET_TIMER, 0, 99)[0] == 0
    assert bench.hart.timers == [(99, 1 << 5)]


def test_legacy_putchar_passes_a_byte_on_and_keeps_a1(bench: Bench) -> None:
    assert bench.call(sbi.LEGACY_PUTCHAR, 0, ord("x"), 77) == (0, 77)
    assert bench.platform.output == b"x"


def test_legacy_getchar_without_input_is_minus_1(bench: Bench) -> None:
    assert bench.call(sbi.LEGACY_GETCHAR, 0)[0] == -1


def test_legacy_getchar_takes_one_byte(bench: Bench) -> None:
    bench.platform.input += b"ab"

    assert bench.call(sbi.LEGACY_GETCHAR, 0)[0] == ord("a")
    assert bench.platform.input == b"b"


def test_legacy_shutdown_powers_off(bench: Bench) -> None:
    bench.call(sbi.LEGACY_SHUTDOWN, 0)

    assert bench.platform.requests == ["shutdown"]


@given(st.lists(st.integers(0, ALL_ONES), min_size=8, max_size=8))
def test_any_call_answers_with_two_numbers_that_fit_registers(arguments: list[int]) -> None:
    bench = Bench()

    error, value = bench.sbi.call(bench.hart, arguments)

    bench.ram.close()
    assert -(1 << 63) <= error < 1 << 64
    assert 0 <= value < 1 << 64
