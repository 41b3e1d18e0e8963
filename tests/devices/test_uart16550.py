# SPDX-License-Identifier: GPL-2.0-or-later
"""16550A UART: PC16550D data sheet. Registers are named as there."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.chardev import WRITE_BUFFER
from asyncemu.devices.uart16550 import FIFO_SIZE, MAX_UNSENT, TRANSMIT_BUFFER, Uart16550, UartOptions
from asyncemu.testing import DeviceBench, DeviceRegisters, until
from asyncemu.testing.memory_chardev import MemoryChardev

RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = range(3, 8)

RECEIVE_INTERRUPT, TRANSMIT_INTERRUPT, LINE_INTERRUPT = 1, 2, 4
NO_CAUSE, TRANSMIT_EMPTY, DATA_READY, LINE_STATUS = 1, 2, 4, 6
DR, OVERRUN, BREAK, THRE, TEMT = 0x01, 0x02, 0x10, 0x20, 0x40


@dataclass
class Port:
    """A UART with its FIFOs on, and its outside."""

    uart: Uart16550
    registers: DeviceRegisters
    chardev: MemoryChardev

    async def write(self, register: int, value: int) -> None:
        await self.registers.write8(register, value)

    async def read(self, register: int) -> int:
        return await self.registers.read8(register)

    async def write_all(self, data: bytes) -> None:
        """Into THR, without a look at the status."""
        bus, address = self.registers.bus, self.registers.base + THR

        def write() -> None:
            for byte in data:
                bus.write_now(address, 1, byte)

        await bus.run(write)

    async def read_all(self) -> bytes:
        """What RBR gives while there is data."""
        data = b""
        while await self.read(LSR) & DR:
            data += bytes([await self.read(RBR)])
        return data

    @property
    def irq(self) -> bool:
        return self.registers.irq.level


@pytest.fixture
async def port(bench: DeviceBench) -> Port:
    chardev = await MemoryChardev.make(bench.context)
    uart, registers = await bench.add_mmio(Uart16550, UartOptions(chardev="chardev0"), chardev=chardev)
    port = Port(uart, registers, chardev)
    await port.write(FCR, 1)
    return port


# ---- registers


async def test_scratch_keeps_what_is_written(port: Port) -> None:
    await port.write(SCR, 0x5A)

    assert await port.read(SCR) == 0x5A


async def test_dlab_divisor_behind_the_first_two_registers(port: Port) -> None:
    await port.write(LCR, 0x83)
    await port.write(DLL, 0x34)
    await port.write(DLM, 0x12)
    divisor = (await port.read(DLL), await port.read(DLM))
    await port.write(LCR, 0x03)

    assert (divisor, await port.read(IER), port.chardev.sent) == ((0x34, 0x12), 0, b"")


async def test_ier_keeps_four_bits(port: Port) -> None:
    await port.write(IER, 0xFF)

    assert await port.read(IER) == 0x0F


@pytest.mark.parametrize(("control", "bits"), [(0, 0), (1, 0xC0)])
async def test_iir_shows_whether_fifos_are_on(port: Port, control: int, bits: int) -> None:
    await port.write(FCR, control)

    assert await port.read(IIR) == bits | NO_CAUSE


async def test_msr_somebody_is_there(port: Port) -> None:
    await port.write(MSR, 0)

    assert await port.read(MSR) == 0xB0


async def test_lsr_idle_and_ignores_write(port: Port) -> None:
    await port.write(LSR, 0)

    assert await port.read(LSR) == THRE | TEMT


# ---- transmitter


async def test_transmit_reaches_chardev(port: Port) -> None:
    await port.write_all(b"Hello\n")
    await until(lambda: port.chardev.sent == b"Hello\n")

    assert await port.read(LSR) == THRE | TEMT


async def test_transmit_burst_is_one_write(bench: DeviceBench, port: Port) -> None:
    pieces: list[bytes] = []
    transmit = port.chardev.transmit
    port.chardev.transmit = lambda data: pieces.append(data) or transmit(data)  # type: ignore[method-assign, func-returns-value]

    port.uart.firmware_write(b"a")
    port.uart.firmware_write(b"b")
    await until(lambda: port.chardev.sent == b"ab")

    assert pieces == [b"ab"]


async def test_thre_interrupt_when_enabled_with_empty_transmitter(port: Port) -> None:
    await port.write(IER, TRANSMIT_INTERRUPT)

    assert (port.irq, await port.read(IIR) & 0x0F) == (True, TRANSMIT_EMPTY)


async def test_thre_interrupt_gone_after_iir_was_read(port: Port) -> None:
    await port.write(IER, TRANSMIT_INTERRUPT)
    await port.read(IIR)

    assert (port.irq, await port.read(IIR) & 0x0F) == (False, NO_CAUSE)


async def test_thre_interrupt_again_after_a_byte(port: Port) -> None:
    await port.write(IER, TRANSMIT_INTERRUPT)
    await port.read(IIR)
    await port.write(THR, 0x41)

    assert port.irq


async def test_thre_interrupt_enabled_once_more_while_on_is_not_repeated(port: Port) -> None:
    await port.write(IER, TRANSMIT_INTERRUPT)
    await port.read(IIR)
    await port.write(IER, TRANSMIT_INTERRUPT | RECEIVE_INTERRUPT)

    assert not port.irq


async def stuff(port: Port) -> None:
    """Fill the chardev and the transmitter."""
    port.chardev.limit = 0
    await port.write_all(bytes(WRITE_BUFFER // 2))
    await until(lambda: port.chardev.unsent == WRITE_BUFFER // 2)
    await port.write_all(bytes(WRITE_BUFFER // 2))
    await until(lambda: port.chardev.unsent == WRITE_BUFFER)
    await port.write_all(bytes(TRANSMIT_BUFFER))


async def test_slow_chardev_transmitter_reads_as_full(port: Port) -> None:
    await stuff(port)

    assert await port.read(LSR) == 0


async def test_slow_chardev_that_takes_bytes_again_interrupts_and_loses_nothing(port: Port) -> None:
    await stuff(port)
    await port.write(IER, TRANSMIT_INTERRUPT)
    while_full = port.irq

    port.chardev.accept()

    assert (while_full, port.irq) == (False, True)
    assert len(port.chardev.sent) == WRITE_BUFFER + TRANSMIT_BUFFER


async def test_slow_chardev_driver_that_does_not_look_loses_bytes_but_takes_no_memory(port: Port) -> None:
    await stuff(port)
    await port.write_all(bytes(2 * MAX_UNSENT))

    port.chardev.accept()
    await until(lambda: port.chardev.unsent == 0)

    assert len(port.chardev.sent) == WRITE_BUFFER + MAX_UNSENT


async def test_without_chardev_output_is_swallowed(bench: DeviceBench) -> None:
    _, registers = await bench.add_mmio(Uart16550, UartOptions())
    await registers.write8(THR, 0x41)
    await until(lambda: True)

    assert await registers.read8(LSR) & THRE


# ---- receiver


async def test_receive_data_ready_and_read_in_order(port: Port) -> None:
    port.chardev.type(b"abc")

    assert await port.read_all() == b"abc"
    assert await port.read(RBR) == 0


async def test_receive_interrupt_until_fifo_is_empty(port: Port) -> None:
    await port.write(IER, RECEIVE_INTERRUPT)
    port.chardev.type(b"ab")
    levels = [port.irq]
    for _ in range(2):
        await port.read(RBR)
        levels.append(port.irq)

    assert levels == [True, True, False]


async def test_receive_not_enabled_does_not_interrupt(port: Port) -> None:
    port.chardev.type(b"a")

    assert (port.irq, await port.read(IIR) & 0x0F) == (False, NO_CAUSE)


async def test_receive_more_than_fifo_waits_outside_and_arrives_whole(port: Port) -> None:
    port.chardev.type(bytes(range(100)))
    outside = len(port.chardev.untyped)
    data = b""
    while len(data) < 100:
        data += await port.read_all()

    assert (outside, data) == (100 - FIFO_SIZE, bytes(range(100)))


async def test_receive_fifos_off_one_byte_at_a_time(port: Port) -> None:
    await port.write(FCR, 0)
    port.chardev.type(b"ab")

    assert port.chardev.untyped == b"b"


async def test_receive_fifo_cleared_makes_room(port: Port) -> None:
    port.chardev.type(bytes(FIFO_SIZE) + b"late")
    await port.write(FCR, 3)
    await until(lambda: not port.chardev.untyped)

    assert await port.read_all() == b"late"


async def test_causes_line_status_before_data_before_transmitter(port: Port) -> None:
    await port.write(IER, 7)
    port.chardev.event(ChardevEvent.BREAK)
    causes = [await port.read(IIR) & 0x0F]
    await port.read(LSR)
    causes.append(await port.read(IIR) & 0x0F)
    await port.read(RBR)
    causes.append(await port.read(IIR) & 0x0F)
    causes.append(await port.read(IIR) & 0x0F)

    assert causes == [LINE_STATUS, DATA_READY, TRANSMIT_EMPTY, NO_CAUSE]


async def test_break_is_a_zero_byte_with_a_mark_that_reading_clears(port: Port) -> None:
    port.chardev.event(ChardevEvent.BREAK)
    first, second = await port.read(LSR), await port.read(LSR)

    assert (first & (BREAK | DR), second & (BREAK | DR), await port.read(RBR)) == (BREAK | DR, DR, 0)


@pytest.mark.parametrize("event", [ChardevEvent.OPENED, ChardevEvent.CLOSED, ChardevEvent.MUX_IN, ChardevEvent.MUX_OUT])
async def test_other_events_change_nothing(port: Port, event: ChardevEvent) -> None:
    port.chardev.event(event)

    assert await port.read(LSR) == THRE | TEMT


# ---- loopback


async def test_loopback_byte_comes_back_and_does_not_go_out(port: Port) -> None:
    await port.write(MCR, 0x10)
    await port.write_all(b"xy")

    assert (await port.read_all(), port.chardev.sent) == (b"xy", b"")


async def test_loopback_overrun_marks_and_keeps_what_came_first(port: Port) -> None:
    await port.write(MCR, 0x10)
    await port.write_all(bytes(range(FIFO_SIZE + 1)))
    status = await port.read(LSR)

    assert (status & OVERRUN, await port.read_all()) == (OVERRUN, bytes(range(FIFO_SIZE)))


@pytest.mark.parametrize(("control", "status"), [(0x1A, 0x90), (0x11, 0x20), (0x12, 0x10), (0x14, 0x40), (0x18, 0x80)])
async def test_loopback_modem_outputs_are_inputs(port: Port, control: int, status: int) -> None:
    await port.write(MCR, control)

    assert await port.read(MSR) == status


async def test_loopback_input_from_outside_waits_until_it_ends(port: Port) -> None:
    await port.write(MCR, 0x10)
    port.chardev.type(b"later")
    during = await port.read_all()
    await port.write(MCR, 0)
    await until(lambda: not port.chardev.untyped)

    assert (during, await port.read_all()) == (b"", b"later")


# ---- firmware


async def test_firmware_write_reaches_chardev(port: Port) -> None:
    taken = port.uart.firmware_write(b"OpenSBI")
    await until(lambda: port.chardev.sent == b"OpenSBI")

    assert taken == 7


async def test_firmware_write_to_slow_chardev_says_what_was_taken(port: Port) -> None:
    port.chardev.limit = 0
    taken = [port.uart.firmware_write(bytes(MAX_UNSENT - 1)), port.uart.firmware_write(b"ab"),
             port.uart.firmware_write(b"c")]  # fmt: skip

    assert taken == [MAX_UNSENT - 1, 1, 0]


async def test_firmware_read_takes_at_most_limit_and_makes_room(port: Port) -> None:
    port.chardev.type(bytes(range(20)))
    first = port.uart.firmware_read(10)
    await until(lambda: not port.chardev.untyped)

    assert (first, port.uart.firmware_read(100)) == (bytes(range(10)), bytes(range(10, 20)))


async def test_firmware_read_of_nothing_is_empty(port: Port) -> None:
    assert port.uart.firmware_read(10) == b""


# ---- the line's other end


async def test_break_reaches_chardev_as_long_as_the_guest_holds_it(port: Port) -> None:
    await port.write(LCR, 0x43)
    await until(lambda: port.chardev.in_break)

    await port.write(LCR, 0x03)

    await until(lambda: not port.chardev.in_break)
    assert await port.read(LCR) == 0x03


async def test_another_chardev_takes_the_place_of_the_first(bench: DeviceBench, port: Port) -> None:
    other = await MemoryChardev.make(bench.context, "other")

    port.chardev.hand_over(other)
    await port.write(THR, ord("x"))
    await until(lambda: other.sent == b"x")
    other.type(b"y")

    assert await port.read(RBR) == ord("y")
    assert port.chardev.sent == b""


# ---- reset and end


async def test_reset_gives_power_on_registers_and_drops_input(bench: DeviceBench, port: Port) -> None:
    await port.write(IER, 0x0F)
    port.chardev.type(b"old")
    await bench.reset()

    assert [await port.read(register) for register in (IER, IIR, LCR, LSR)] == [0, NO_CAUSE, 0, THRE | TEMT]
    assert not port.irq


async def test_unrealize_sends_what_is_unsent_and_leaves_chardev(port: Port) -> None:
    port.uart.firmware_write(b"bye")

    await port.uart.unrealize()

    assert (port.chardev.sent, port.chardev.frontend) == (b"bye", None)
