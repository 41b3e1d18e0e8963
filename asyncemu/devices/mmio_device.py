# SPDX-License-Identifier: GPL-2.0-or-later
"""MmioDevice: a device that the guest sees as registers at a physical address.

    class Stopwatch(MmioDevice[Options], name="stopwatch", size=0x1000):
        ticks = reg(0x00, read_only=True)
        control = reg(0x04)

        @control.on_write
        def _start(self, value: int) -> None: ...

The board gives it an address and an interrupt, and describes it in the device tree by ``compatible``.
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar, TypeVar

from asyncemu.devices.device import Device, Environment
from asyncemu.devices.register import Register
from asyncemu.loop import any_thread, vcpu_thread
from asyncemu.plugins import Options
from asyncemu.vcpu.irq import IrqLine

OptionsT = TypeVar("OptionsT", bound=Options, covariant=True)


class MmioDevice(Device[OptionsT]):
    """Base of MMIO devices. ``size`` is the region's length in bytes."""

    size: ClassVar[int] = 0x1000
    #: The device tree's ``compatible``; "asyncemu,NAME" where empty.
    compatible: ClassVar[tuple[str, ...]] = ()
    registers: ClassVar[dict[int, Register]] = {}

    #: Its interrupt; set by the board before ``realize``.
    irq: IrqLine

    def __init_subclass__(cls, *, name: str = "", size: int = 0, **arguments: Any) -> None:
        super().__init_subclass__(name=name, **arguments)
        if size:
            cls.size = size
        cls.registers = dict(cls.registers)
        for attribute in vars(cls).values():
            if isinstance(attribute, Register):
                if attribute.offset + attribute.width > cls.size:
                    raise TypeError(f"{cls.__name__}.{attribute.name} lies beyond the region's {cls.size} bytes")
                cls.registers[attribute.offset] = attribute

    def __init__(self, options: OptionsT, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        #: Guards register_values and whatever bus handlers share with home.
        self.lock = threading.RLock()
        self.register_values: dict[str, int] = {}
        self._posted = self.posted_queue(self._handler_failed)
        self._set_reset_values()

    async def reset(self) -> None:
        """Registers to their reset values; override for more, and call this."""
        with self.lock:
            self._set_reset_values()

    async def unrealize(self) -> None:
        self._posted.close()

    def _set_reset_values(self) -> None:
        self.register_values = {register.name: register.reset for register in self.registers.values()}

    # ---- the bus face: any vCPU's thread

    @vcpu_thread
    def mmio_read(self, offset: int, size: int) -> int:
        """An access narrower than the register gets its part; where no register is, zero."""
        register = self.registers.get(offset)
        if register is None or register.width != size:
            return self._odd_read(offset, size)
        return self._read(register)

    @vcpu_thread
    def mmio_write(self, offset: int, size: int, value: int) -> None:
        """Where no register is, and to read-only ones, nothing happens."""
        register = self.registers.get(offset)
        if register is None or register.read_only:
            return
        value &= register.mask
        if register.bus_write is not None:
            with self.lock:
                register.bus_write(self, value)
            return
        if register.home_write is not None:
            handler = register.home_write
            self._posted.post(lambda: self._store_and_call(register, value, handler))
        else:
            self.register_values[register.name] = value

    def _store_and_call(self, register: Register, value: int, handler: Any) -> Any:
        self.register_values[register.name] = value
        return handler(self, value)

    def _read(self, register: Register) -> int:
        if register.bus_read is not None:
            with self.lock:
                return register.bus_read(self) & register.mask
        if register.home_read is not None:
            handler = register.home_read
            value = self._posted.call(lambda: handler(self))
            return (value or 0) & register.mask
        if register.home_write is not None:
            # The value is stored when the posted write arrives at home.
            self._posted.fence()
        return self.register_values[register.name]

    def _odd_read(self, offset: int, size: int) -> int:
        for register in self.registers.values():
            if register.offset <= offset and offset + size <= register.offset + register.width:
                return self._read(register) >> 8 * (offset - register.offset) & ((1 << 8 * size) - 1)
        return 0

    @any_thread
    def post(self, work: Any) -> None:
        """Do ``work()`` at home, behind all that has been posted: for bus handlers."""
        self._posted.post(work)

    def _handler_failed(self, error: BaseException) -> None:
        self.context.loop.call_exception_handler({"message": f"register handler of {self!r}", "exception": error})
