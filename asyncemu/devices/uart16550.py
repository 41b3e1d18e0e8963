# SPDX-License-Identifier: GPL-2.0-or-later
"""16550A UART on a chardev (National Semiconductor PC16550D data sheet).

The bus face is the register file and both FIFOs, under the device's lock: a byte written or read costs no hand-over.
Home carries bytes between the FIFOs and the chardev. Line speed is not modelled: the transmitter is as fast as the
chardev, and its holding register is full only while the chardev takes no more.
"""

from __future__ import annotations

from collections import deque
from typing import Annotated, Any, Final

from pydantic import Field

from asyncemu.chardev import Chardev, ChardevEvent
from asyncemu.devices.device import Environment
from asyncemu.devices.mmio_device import MmioDevice
from asyncemu.devices.register import reg
from asyncemu.loop import any_thread, home
from asyncemu.options import Options
from asyncemu.plugins import Reference

FIFO_SIZE: Final = 16
#: Bytes taken from the guest and not yet by the chardev before the transmitter reads as full: what a kernel prints at
#: once, so that it need not wait.
TRANSMIT_BUFFER: Final = 4096
#: Bytes wait so long for more of them before they go home together: a kernel's log would otherwise wake the loop for
#: every character, and the two threads would fight for the GIL. Shorter than anybody sees. Seconds.
TRANSMIT_DELAY: Final = 0.002
#: Bytes that wait for the chardev at most: firmware does not look whether the transmitter is full before it writes.
MAX_UNSENT: Final = 64 * 1024

# Interrupt enable and line status bits, data sheet tables II to IV.
IER_RECEIVE: Final = 1
IER_TRANSMIT: Final = 2
IER_LINE: Final = 4
LSR_DATA: Final = 0x01
LSR_OVERRUN: Final = 0x02
LSR_BREAK: Final = 0x10
LSR_THR_EMPTY: Final = 0x20
LSR_IDLE: Final = 0x40
LCR_BREAK: Final = 0x40
LCR_DLAB: Final = 0x80
MCR_LOOP: Final = 0x10
FCR_ENABLE: Final = 1
FCR_CLEAR_RECEIVE: Final = 2
#: Carrier, data set ready and clear to send: somebody is always there.
MSR_READY: Final = 0xB0

IIR_NONE: Final = 1
IIR_TRANSMIT: Final = 2
IIR_RECEIVE: Final = 4
IIR_LINE: Final = 6
IIR_FIFOS: Final = 0xC0


class UartOptions(Options):
    """Options of a UART."""

    chardev: Annotated[str, Reference("chardev"), Field(description="Where its bytes go and come from.")] = ""


class Uart16550(MmioDevice[UartOptions], name="uart16550", size=0x100):
    """16550A serial port."""

    description = "16550A serial port."

    compatible = ("ns16550a",)
    chardev: Chardev[Any] | None = None

    data = reg(0, width=1)
    interrupt_enable = reg(1, width=1)
    interrupt_id = reg(2, width=1)
    line_control = reg(3, width=1)
    modem_control = reg(4, width=1)
    line_status = reg(5, width=1)
    modem_status = reg(6, width=1, reset=MSR_READY, read_only=True)
    scratch = reg(7, width=1)

    def __init__(self, options: UartOptions, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        self._received: deque[int] = deque()
        self._unsent = bytearray()
        self._clear()
        #: Home has been asked, and will come within TRANSMIT_DELAY.
        self._transmit_asked = False
        self._transmit_soon = self.context.bh_new(self._transmit, f"{id}-transmit")
        self._transmit_later = self.context.bh_new(self._wait_to_transmit, f"{id}-transmit-later")
        self._accept_soon = self.context.bh_new(self._accept, f"{id}-accept")
        self._break_soon = self.context.bh_new(self._set_break, f"{id}-break")

    def _clear(self) -> None:
        self._received.clear()
        self._divisor = 0
        self._fifos = False
        self._status = 0
        # The transmitter has become empty and nobody has been told.
        self._empty_unreported = False

    async def realize(self) -> None:
        if self.chardev is not None:
            self.chardev.attach(self)

    async def reset(self) -> None:
        await super().reset()
        with self.lock:
            self._clear()
            self._update()
        self._accept_soon.schedule()

    async def unrealize(self) -> None:
        self._transmit()
        self._transmit_soon.delete()
        self._transmit_later.delete()
        self._accept_soon.delete()
        self._break_soon.delete()
        if self.chardev is not None:
            self.chardev.detach(self)
        await super().unrealize()

    # ---- the bus face

    @data.on_bus_read
    def _read_data(self) -> int:
        if self.line_control & LCR_DLAB:
            return self._divisor & 0xFF
        if not self._received:
            return 0
        byte = self._received.popleft()
        if not self._received:
            self._accept_soon.schedule()
        self._update()
        return byte

    @data.on_bus_write
    def _write_data(self, value: int) -> None:
        if self.line_control & LCR_DLAB:
            self._divisor = self._divisor & 0xFF00 | value
            return
        if self.modem_control & MCR_LOOP:
            self._receive_byte(value)
        elif len(self._unsent) < MAX_UNSENT:
            # A driver that goes on although the transmitter is full loses what it writes, as with the real one.
            self._unsent.append(value)
            self._ask_to_transmit()
        self._empty_unreported = self._transmitter_empty()
        self._update()

    @line_control.on_bus_write
    def _write_line_control(self, value: int) -> None:
        changed = self.line_control ^ value
        self.line_control = value
        if changed & LCR_BREAK:
            self._break_soon.schedule()

    @modem_control.on_bus_write
    def _write_modem_control(self, value: int) -> None:
        ends_loopback = self.modem_control & ~value & MCR_LOOP
        self.modem_control = value & 0x1F
        # Behind the change: home may be quicker than the rest of this method.
        if ends_loopback:
            self._accept_soon.schedule()

    @modem_status.on_bus_read
    def _read_modem_status(self) -> int:
        control = self.modem_control
        if not control & MCR_LOOP:
            return MSR_READY
        # In loopback the outputs are the inputs: DTR to DSR, RTS to CTS, OUT1 to RI, OUT2 to DCD.
        return (control & 1) << 5 | (control & 2) << 3 | (control & 0x0C) << 4

    @interrupt_enable.on_bus_read
    def _read_enable(self) -> int:
        return self._divisor >> 8 if self.line_control & LCR_DLAB else self.interrupt_enable

    @interrupt_enable.on_bus_write
    def _write_enable(self, value: int) -> None:
        if self.line_control & LCR_DLAB:
            self._divisor = self._divisor & 0xFF | value << 8
            return
        if value & ~self.interrupt_enable & IER_TRANSMIT:
            self._empty_unreported = self._transmitter_empty()
        self.interrupt_enable = value & 0x0F
        self._update()

    @interrupt_id.on_bus_read
    def _read_id(self) -> int:
        cause = self._cause()
        if cause == IIR_TRANSMIT:
            # Reading the cause is what acknowledges this one.
            self._empty_unreported = False
            self._update()
        return cause | (IIR_FIFOS if self._fifos else 0)

    @interrupt_id.on_bus_write
    def _write_fifo_control(self, value: int) -> None:
        switched = bool(value & FCR_ENABLE) != self._fifos
        self._fifos = bool(value & FCR_ENABLE)
        if switched or value & FCR_CLEAR_RECEIVE:
            self._received.clear()
            self._accept_soon.schedule()
        self._update()

    @line_status.on_bus_read
    def _read_line_status(self) -> int:
        status = self._status
        self._status = 0
        if self._received:
            status |= LSR_DATA
        if self._transmitter_empty():
            # No line, so nothing is ever being shifted out: a kernel that polls for idle need not wait for home.
            status |= LSR_THR_EMPTY | LSR_IDLE
        self._update()
        return status

    @line_status.on_bus_write
    def _write_line_status(self, value: int) -> None:
        """Factory test only: ignored."""

    def _transmitter_empty(self) -> bool:
        return len(self._unsent) < TRANSMIT_BUFFER

    def _cause(self) -> int:
        enabled = self.interrupt_enable
        if enabled & IER_LINE and self._status:
            return IIR_LINE
        if enabled & IER_RECEIVE and self._received:
            return IIR_RECEIVE
        if enabled & IER_TRANSMIT and self._empty_unreported:
            return IIR_TRANSMIT
        return IIR_NONE

    def _update(self) -> None:
        self.irq.set(self._cause() != IIR_NONE)

    def _receive_byte(self, byte: int) -> None:
        if len(self._received) < (FIFO_SIZE if self._fifos else 1):
            self._received.append(byte)
        else:
            self._status |= LSR_OVERRUN

    # ---- firmware's use of the port (our SBI's console): any thread

    @any_thread
    def firmware_write(self, data: bytes) -> int:
        """Output as firmware makes it, by polling: beside the interrupt-driven driver. How many bytes were taken."""
        with self.lock:
            taken = data[: max(0, MAX_UNSENT - len(self._unsent))]
            self._unsent += taken
            self._ask_to_transmit()
        return len(taken)

    @any_thread
    def firmware_read(self, limit: int) -> bytes:
        """Input that has come, at most ``limit`` bytes."""
        with self.lock:
            data = bytes(self._received.popleft() for _ in range(min(limit, len(self._received))))
            self._update()
        if data:
            self._accept_soon.schedule()
        return data

    # ---- home: the chardev's front end

    @home
    def can_receive(self) -> int:
        """Free places in the receive FIFO; in loopback nothing comes in from outside."""
        if self.modem_control & MCR_LOOP:
            return 0
        return (FIFO_SIZE if self._fifos else 1) - len(self._received)

    @home
    def receive(self, data: bytes) -> None:
        """Bytes from the chardev."""
        with self.lock:
            for byte in data:
                self._receive_byte(byte)
            self._update()

    @home
    def chardev_event(self, event: ChardevEvent) -> None:
        """A break arrives as a zero byte with a mark; coming and going are not on a three-wire line."""
        if event is ChardevEvent.BREAK:
            with self.lock:
                self._receive_byte(0)
                self._status |= LSR_BREAK
                self._update()

    @home
    def writable(self) -> None:
        """The chardev takes bytes again."""
        self._transmit()

    @home
    def chardev_changed(self, chardev: Chardev[Any]) -> None:
        """Another back end has taken the place of the one before."""
        self.chardev = chardev

    def _set_break(self) -> None:
        if self.chardev is not None:
            self.chardev.set_break(bool(self.line_control & LCR_BREAK))

    def _accept(self) -> None:
        if self.chardev is not None:
            self.chardev.accept_input()

    def _ask_to_transmit(self) -> None:
        """Carry bytes home together: at once only when the buffer is full. Under the lock."""
        if not self._transmitter_empty():
            self._transmit_soon.schedule()
        elif not self._transmit_asked:
            self._transmit_asked = True
            self._transmit_later.schedule()

    def _wait_to_transmit(self) -> None:
        self.context.loop.call_later(TRANSMIT_DELAY, self._transmit)

    def _transmit(self) -> None:
        self._transmit_asked = False
        with self.lock:
            data = bytes(self._unsent)
        taken = self.chardev.write(data) if self.chardev is not None else len(data)
        with self.lock:
            full = not self._transmitter_empty()
            del self._unsent[:taken]
            if full and self._transmitter_empty():
                self._empty_unreported = True
            self._update()
