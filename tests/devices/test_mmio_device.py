# SPDX-License-Identifier: GPL-2.0-or-later
"""The author's face of MMIO devices: kinds of registers, and the order in which things happen."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from asyncemu.devices import Environment, MmioDevice, reg
from asyncemu.options import Options
from asyncemu.testing import DeviceBench, DeviceRegisters, until

PLAIN, READ_ONLY, POSTED, SLOW, WAITED, COMPUTED, BUS, WIDE, DATA, FAILING = range(0x00, 0x50, 8)


class Sample(MmioDevice[Options], size=0x80):
    """A register of each kind."""

    plain = reg(PLAIN, reset=0x11223344)
    read_only = reg(READ_ONLY, reset=7, read_only=True)
    posted = reg(POSTED)
    slow = reg(SLOW)
    waited = reg(WAITED)
    computed = reg(COMPUTED)
    bus = reg(BUS, reset=0xAABBCCDD)
    wide = reg(WIDE, width=8)
    data = reg(DATA)
    failing = reg(FAILING)

    def __init__(self, options: Options, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        self.calls: list[tuple[str, int, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    def note(self, what: str, value: int) -> None:
        self.calls.append((what, value, threading.get_ident()))

    @property
    def noted(self) -> list[tuple[str, int]]:
        return [call[:2] for call in self.calls]

    @posted.on_write
    def _posted_write(self, value: int) -> None:
        self.note("posted", value)
        self.note("data", self.data)

    @slow.on_write
    async def _slow_write(self, value: int) -> None:
        await self.gate.wait()
        self.note("slow", value)

    @waited.on_read
    def _waited_read(self) -> int:
        self.note("waited", 0)
        return 0x1_0000_0005

    @computed.on_read
    async def _computed_read(self) -> int:
        await asyncio.sleep(0)
        return 6

    @bus.on_bus_read
    def _bus_read(self) -> int:
        self.note("bus-read", 0)
        return self.bus

    @bus.on_bus_write
    def _bus_write(self, value: int) -> None:
        self.note("bus-write", value)
        self.bus = value

    @failing.on_write
    def _failing_write(self, value: int) -> None:
        raise ZeroDivisionError

    @failing.on_read
    async def _failing_read(self) -> int:
        raise KeyError


@pytest.fixture
async def sample(bench: DeviceBench) -> tuple[Sample, DeviceRegisters]:
    return await bench.add_mmio(Sample, Options())


# ---- kinds of registers


async def test_plain_register_reads_what_was_written(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    await registers.write32(PLAIN, 0xDEADBEEF)

    assert await registers.read32(PLAIN) == device.plain == 0xDEADBEEF


async def test_read_only_register_ignores_write(sample: tuple[Sample, DeviceRegisters]) -> None:
    _, registers = sample
    await registers.write32(READ_ONLY, 1)

    assert await registers.read32(READ_ONLY) == 7


async def test_device_sets_its_own_read_only_register(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    device.read_only = 0x1_0000_0009

    assert await registers.read32(READ_ONLY) == 9


async def test_on_write_runs_at_home_after_the_value_is_stored(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    await registers.write32(POSTED, 3)

    assert await registers.read32(POSTED) == 3
    assert device.calls[0] == ("posted", 3, threading.get_ident())


async def test_on_read_runs_at_home_and_value_is_cut_to_width(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample

    assert await registers.read32(WAITED) == 5
    assert device.calls == [("waited", 0, threading.get_ident())]


async def test_on_read_coroutine_is_waited_for(sample: tuple[Sample, DeviceRegisters]) -> None:
    _, registers = sample

    assert await registers.read32(COMPUTED) == 6


async def test_bus_handlers_run_on_the_vcpu_s_thread(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    await registers.write32(BUS, 1)
    await registers.read32(BUS)
    vcpu_thread = await registers.bus.run(threading.get_ident)

    assert device.calls == [("bus-write", 1, vcpu_thread), ("bus-read", 0, vcpu_thread)]


async def test_no_register_reads_zero_and_ignores_write(sample: tuple[Sample, DeviceRegisters]) -> None:
    _, registers = sample
    await registers.write32(0x7C, 5)

    assert await registers.read32(0x7C) == 0


# ---- order


async def test_data_then_command_twice_each_command_sees_its_data(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample

    def write_all() -> None:
        for value in (1, 2, 3):
            registers.bus.write_now(registers.base + DATA, 4, 10 * value)
            registers.bus.write_now(registers.base + POSTED, 4, value)

    registers.bus.run_blocking(write_all)
    await registers.read32(POSTED)

    assert device.noted == [
        ("posted", 1), ("data", 10), ("posted", 2), ("data", 20), ("posted", 3), ("data", 30),
    ]  # fmt: skip


async def test_write_behind_slow_handler_waits_for_it(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    device.gate.clear()
    await registers.write32(SLOW, 1)
    await registers.write32(POSTED, 2)
    await asyncio.sleep(0)
    before = list(device.noted)

    device.gate.set()
    await registers.read32(POSTED)

    assert before == []
    assert device.noted == [("slow", 1), ("posted", 2), ("data", 0)]


async def test_read_behind_posted_write_waits_for_it(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    device.gate.clear()
    await registers.write32(SLOW, 1)
    read = asyncio.ensure_future(registers.read32(PLAIN))
    await until(lambda: not device._posted.idle)
    waiting = not read.done()

    device.gate.set()

    assert (waiting, await read) == (True, 0x11223344)
    assert device.noted == [("slow", 1)]


async def test_bus_handler_does_not_wait_for_posted_writes(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    device.gate.clear()
    await registers.write32(SLOW, 1)

    assert await registers.read32(BUS) == 0xAABBCCDD
    device.gate.set()


async def test_post_from_bus_handler_runs_behind_posted_writes(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    await registers.write32(POSTED, 1)
    await registers.bus.run(lambda: device.post(lambda: device.note("afterwards", 0)))
    await registers.read32(POSTED)

    assert device.noted[-1] == ("afterwards", 0)


# ---- widths


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [
        (0, 1, 0x44), (1, 1, 0x33), (3, 1, 0x11), (0, 2, 0x3344), (2, 2, 0x1122), (3, 2, 0), (0, 8, 0x11223344),
    ],
)  # fmt: skip
async def test_narrow_read_gets_its_part(
    sample: tuple[Sample, DeviceRegisters], offset: int, size: int, value: int
) -> None:
    _, registers = sample

    assert await registers.read(PLAIN + offset, size) == value


@pytest.mark.parametrize(
    ("offset", "size", "value"),
    [(0, 1, 0x112233FF), (3, 1, 0xFF223344), (2, 2, 0xFFFF3344), (0, 4, 0xFFFFFFFF), (2, 4, 0x11223344)],
)
async def test_narrow_write_changes_its_part(
    sample: tuple[Sample, DeviceRegisters], offset: int, size: int, value: int
) -> None:
    _, registers = sample
    await registers.write(PLAIN + offset, size, (1 << 8 * size) - 1)

    assert await registers.read32(PLAIN) == value


async def test_narrow_write_handlers_get_the_whole_value(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    await registers.write32(POSTED, 0x01020304)
    await registers.write8(POSTED + 1, 0xFF)
    await registers.write8(BUS + 3, 0)
    await registers.read32(POSTED)

    assert ("posted", 0x0102FF04) in device.noted
    assert ("bus-write", 0x00BBCCDD) in device.noted


async def test_64_bit_register_in_halves(sample: tuple[Sample, DeviceRegisters]) -> None:
    _, registers = sample
    await registers.write32(WIDE, 0x55667788)
    await registers.write32(WIDE + 4, 0x11223344)

    assert await registers.read64(WIDE) == 0x1122334455667788
    assert await registers.read32(WIDE + 4) == 0x11223344


# ---- reset and end


async def test_reset_gives_reset_values(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    await registers.write32(PLAIN, 0)

    await device.reset()

    assert await registers.read32(PLAIN) == 0x11223344


async def test_reset_behind_posted_write_is_not_undone_by_it(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    registers.bus.run_blocking(lambda: registers.bus.write_now(registers.base + POSTED, 4, 5))

    await device.reset()

    assert await registers.read32(POSTED) == 0


async def test_unrealize_lets_waiting_vcpu_go(sample: tuple[Sample, DeviceRegisters]) -> None:
    device, registers = sample
    device.gate.clear()
    await registers.write32(SLOW, 1)
    read = asyncio.ensure_future(registers.read32(PLAIN))
    await until(lambda: bool(device._posted._entries))

    await device.unrealize()

    assert await read == 0x11223344
    device.gate.set()


@pytest.mark.parametrize(("write", "error"), [(True, ZeroDivisionError), (False, KeyError)])
async def test_handler_that_raises_is_reported_and_device_lives_on(
    sample: tuple[Sample, DeviceRegisters], write: bool, error: type[Exception]
) -> None:
    device, registers = sample
    contexts: list[dict[str, Any]] = []
    device.context.loop.set_exception_handler(lambda loop, context: contexts.append(context))
    access = registers.write32(FAILING, 1) if write else registers.read32(FAILING)

    await access
    await registers.write32(POSTED, 4)

    assert await registers.read32(POSTED) == 4
    assert [type(context["exception"]) for context in contexts] == [error]
    assert contexts[0]["message"] == f"register handler of {device!r}"


# ---- class declarations


def test_subclass_inherits_registers_and_handlers() -> None:
    class Child(Sample):
        extra = reg(0x60)

    assert Child.registers == {**Sample.registers, 0x60: Child.extra}
    assert Child.size == Sample.size


def test_subclass_that_declares_a_register_again_moves_it() -> None:
    class Child(Sample):
        plain = reg(0x60)

    assert (PLAIN in Child.registers, Child.registers[0x60].name) == (False, "plain")
    assert PLAIN in Sample.registers


def test_register_beyond_the_region_refused() -> None:
    with pytest.raises(TypeError, match=r"Big\.far lies beyond the region's 16 bytes"):

        class Big(MmioDevice[Options], size=0x10):
            far = reg(0x10)


def test_registers_that_overlap_refused() -> None:
    with pytest.raises(TypeError, match=r"Twice\.second overlaps first"):

        class Twice(MmioDevice[Options]):
            first = reg(0x00, width=8)
            second = reg(0x04)


@pytest.mark.parametrize(("offset", "width"), [(2, 4), (4, 8), (0, 3)])
def test_register_of_odd_width_or_place_refused(offset: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"a register of {width} bytes at offset {offset:#x}"):
        reg(offset, width=width)
