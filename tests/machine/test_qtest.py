# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine without a CPU, driven over its qtest socket."""

from __future__ import annotations

import asyncio

import pytest

from asyncemu.machine import RunState
from asyncemu.machine.qtest_commands import ClockSet, ClockStep, Command, Fill, Intercept, Read, Write
from asyncemu.machine.virt import CLINT, PLIC, RAM_BASE, RTC, RTC_IRQ, VIRTIO, VIRTIO_IRQ
from asyncemu.testing.qtest_client import QtestFailure
from asyncemu.virtio.defs import DESC_WRITE
from asyncemu.virtio.mmio_registers import MAGIC_VALUE, VERSION_2, Register
from tests.machine.conftest import Serve

MTIMECMP = CLINT[0] + 0x4000
MTIME = CLINT[0] + 0xBFF8
PENDING = PLIC[0] + 0x1000
RAM_SIZE = 16 << 20


# ---- time


async def test_clock_begins_at_zero_and_moves_only_when_told_to(serve: Serve) -> None:
    machine, client = await serve()
    commands: list[Command] = [ClockStep(None), ClockStep(1000), ClockSet(5000), ClockSet(10), ClockStep(0)]

    answers = [await client.ask(command) for command in commands]

    assert answers == ["0", "1000", "5000", "5000", "5000"]
    assert (machine.clocks.realtime.now(), machine.clocks.host.now(), machine.vcpus) == (5000, 5000, [])


async def test_clock_step_to_the_next_deadline_rings_the_alarm(serve: Serve) -> None:
    _, client = await serve()
    await client.ask(Intercept("plic"))
    await client.write_value(RTC[0] + 0x10, 4, 1)
    await client.write_value(RTC[0] + 0x08, 4, 1_000_000)

    now = await client.ask(ClockStep(None))
    pending = await client.read_value(PENDING, 4)
    await client.write_value(RTC[0] + 0x1C, 4, 1)

    assert (now, pending) == ("1000000", 1 << RTC_IRQ)
    assert client.interrupts == [(RTC_IRQ, True), (RTC_IRQ, False)]


async def test_clock_step_mtimer_raises_the_harts_line_on_its_tick(serve: Serve) -> None:
    _, client = await serve()
    await client.ask(Intercept("cpu0"))
    await client.write_value(MTIMECMP, 8, 50)

    await client.ask(ClockStep(4999))
    early = list(client.interrupts)
    await client.ask(ClockStep(1))
    time = await client.read_value(MTIME, 8)
    await client.write_value(MTIMECMP, 8, 1 << 62)

    assert (early, time) == ([], 50)
    assert client.interrupts == [(7, True), (7, False)]
    assert await client.ask(ClockStep(None)) == "5000"


async def test_clock_step_alarm_reaches_the_hart_through_the_plic(serve: Serve) -> None:
    _, client = await serve()
    await client.write_value(PLIC[0] + 4 * RTC_IRQ, 4, 1)
    await client.write_value(PLIC[0] + 0x2080, 4, 1 << RTC_IRQ)
    await client.write_value(RTC[0] + 0x10, 4, 1)
    await client.write_value(RTC[0] + 0x08, 4, 70)
    await client.ask(Intercept("cpu0"))

    await client.ask(ClockSet(70))
    claimed = await client.read_value(PLIC[0] + 0x201004, 4)

    assert (client.interrupts, claimed) == ([(9, True), (9, False)], RTC_IRQ)


async def test_clock_step_of_a_paused_machine_fails(serve: Serve) -> None:
    machine, client = await serve(machine={"paused": True})

    with pytest.raises(QtestFailure, match=r"^Guest time stands still: the machine is paused$"):
        await client.ask(ClockStep(1))

    assert machine.clocks.virtual.now() == 0


async def test_clock_step_that_never_ends_fails_where_time_stands_still(serve: Serve) -> None:
    machine, client = await serve()
    timer = machine.context.timer(machine.clocks.virtual, lambda: timer.mod(7))
    timer.mod(7)

    with pytest.raises(QtestFailure, match=r"^timers have been due at 7 ns 1001 times in a row$"):
        await client.ask(ClockStep(10))

    assert machine.clocks.virtual.now() == 7


# ---- memory and registers


async def test_read_value_of_registers(serve: Serve) -> None:
    _, client = await serve()

    assert await client.ask_line(b"readl 0x10001000\n") == "0x0000000074726976"
    assert await client.ask_line(b"endianness\n") == "little"


async def test_ram_written_is_read_back(serve: Serve) -> None:
    machine, client = await serve()

    await client.ask(Write(RAM_BASE + 3, b"abcdef"))
    await client.write_value(RAM_BASE + 4, 2, 0x4241)
    await client.ask(Fill(RAM_BASE + 7, 4, ord("z")))

    assert machine.memory.read(RAM_BASE + 3, 8) == b"aABdzzzz"
    assert await client.ask(Read(RAM_BASE + 3, 3)) == "0x614142"
    assert await client.ask(Read(RAM_BASE + 3, 3, base64=True)) == "YUFC"
    assert await client.read_value(RAM_BASE + 3, 8) == int.from_bytes(b"aABdzzzz", "little")


async def test_where_nothing_is_zero_is_read_and_writes_are_lost(serve: Serve) -> None:
    machine, client = await serve()
    end = RAM_BASE + RAM_SIZE

    await client.ask(Write(end - 2, b"abcd"))
    await client.ask(Write((1 << 64) - 1, b"ab"))

    assert await client.ask(Read(end - 2, 6)) == "0x616200000000"
    assert await client.read_value((1 << 64) - 1, 8) == 0
    assert machine.memory.read(end - 2, 2) == b"ab"


async def test_block_of_registers_is_read_in_words_up_to_the_end_of_a_region(serve: Serve) -> None:
    _, client = await serve()
    registers = MAGIC_VALUE.to_bytes(4, "little") + VERSION_2.to_bytes(4, "little")

    # Before the first slot is nothing; an unaligned begin is not a word, and virtio's registers are.
    assert await client.ask(Read(VIRTIO[0] - 4, 12)) == f"0x00000000{registers.hex()}"
    assert await client.ask(Read(VIRTIO[0] + 2, 6)) == f"0x0000{registers[4:].hex()}"
    assert await client.read_value(VIRTIO[0] - 4, 8) == MAGIC_VALUE << 32


async def test_large_block_of_registers_leaves_the_loop_free(serve: Serve) -> None:
    machine, client = await serve()
    turns = 0

    reading = asyncio.create_task(client.ask(Read(PLIC[0], 1 << 16)))
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > 10
    assert machine.state is RunState.RUNNING


@pytest.mark.parametrize("home", [{}, {"iothread": "io0"}], ids=["main loop", "iothread"])
async def test_virtio_rng_request_is_answered_with_an_interrupt(serve: Serve, home: dict[str, str]) -> None:
    _, client = await serve(iothread=[{"id": "io0"}], device=[{"driver": "virtio-rng", **home}])
    await client.ask(Intercept("plic"))
    descriptors, available, used, buffer = (RAM_BASE + index * 0x1000 for index in range(4))

    async def write(register: int, value: int) -> None:
        await client.write_value(VIRTIO[0] + register, 4, value)

    for register, value in (
        (Register.STATUS, 1),
        (Register.STATUS, 3),
        (Register.DRIVER_FEATURES_SELECT, 1),
        (Register.DRIVER_FEATURES, 1),
        (Register.STATUS, 0xB),
        (Register.QUEUE_SIZE, 8),
        (Register.QUEUE_DESC_LOW, descriptors),
        (Register.QUEUE_DRIVER_LOW, available),
        (Register.QUEUE_DEVICE_LOW, used),
        (Register.QUEUE_READY, 1),
        (Register.STATUS, 0xF),
    ):
        await write(register, value)
    await client.write_value(descriptors, 8, buffer)
    await client.write_value(descriptors + 8, 8, 64 | DESC_WRITE << 32)
    await client.write_value(available, 4, 1 << 16)

    await write(Register.QUEUE_NOTIFY, 0)
    interrupt = await client.wait_interrupt()
    await write(Register.INTERRUPT_ACK, 1)

    assert interrupt == (VIRTIO_IRQ, True)
    assert await client.read_value(used, 4) == 1 << 16
    assert await client.ask(Read(buffer, 64)) != f"0x{bytes(64).hex()}"
    assert await client.wait_interrupt() == (VIRTIO_IRQ, False)


# ---- interrupts


async def test_intercept_one_device_and_no_other(serve: Serve) -> None:
    _, client = await serve()
    await client.ask(Intercept("plic"))
    await client.ask(Intercept("plic"))

    for command, reason in (
        (Intercept("cpu0"), "IRQ intercept already enabled"),
        (Intercept("gpu"), "Unknown device; known: inputs of plic, cpu0"),
        (Intercept("plic", outputs=True), "No outputs can be intercepted; known: inputs of plic, cpu0"),
    ):
        with pytest.raises(QtestFailure, match=f"^{reason}$"):
            await client.ask(command)


async def test_intercept_interrupt_is_told_of_while_nothing_is_asked(serve: Serve) -> None:
    machine, client = await serve()
    await client.ask(Intercept("plic"))

    machine.board.rtc.irq.set(True)

    assert await client.wait_interrupt() == (RTC_IRQ, True)
