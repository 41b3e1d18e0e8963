# SPDX-License-Identifier: GPL-2.0-or-later
"""MmioDevice: a device that the guest sees as registers at a physical address.

    class Stopwatch(MmioDevice[Options], name="stopwatch", size=0x1000):
        ticks = reg(0x00, read_only=True)
        control = reg(0x04)

        @control.on_write
        def _start(self, value: int) -> None: ...

The board gives it an address and an interrupt, and describes it in the device tree by ``compatible``.

Order. What the guest does to registers takes effect in the order in which it does it: a write goes behind those that
are posted and not handled yet, and a read waits until they are. Where nothing is posted, that costs nothing. Only bus
handlers stand outside of this order: what a guest polls while a long ``on_write`` coroutine is at work has an
``on_bus_read``.

A handler that raises is this device's failure (author_errors.py): it is reported, a read gives zero, and the machine
goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from asyncemu.author_errors import WrongResult
from asyncemu.devices.device import Device, Environment
from asyncemu.devices.register import Register
from asyncemu.loop import any_thread, vcpu_thread
from asyncemu.options import Options
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
                cls._declare(attribute)

    @classmethod
    def _declare(cls, register: Register) -> None:
        """Add a register of the class body; one of the same name in a base class is replaced."""
        label = f"{cls.__name__}.{register.name}"
        if register.end > cls.size:
            raise TypeError(f"{label} lies beyond the region's {cls.size} bytes")
        for other in list(cls.registers.values()):
            if other.name == register.name:
                del cls.registers[other.offset]
            elif register.offset < other.end and other.offset < register.end:
                raise TypeError(f"{label} overlaps {other.name}")
        cls.registers[register.offset] = register

    def __init__(self, options: OptionsT, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        #: Guards register_values and whatever bus handlers share with home.
        self.lock = threading.RLock()
        self.register_values: dict[str, int] = {}
        self._posted = self.posted_queue(self._handler_failed)
        self._set_reset_values()

    async def reset(self) -> None:
        """Registers to their reset values, when what was posted has been handled; override for more, and call this."""
        await self.wait_posted(self._posted)
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
        if register is not None and register.width == size:
            return self._read(register)
        register = self._find(offset, size)
        if register is None:
            return 0
        return self._read(register) >> 8 * (offset - register.offset) & ((1 << 8 * size) - 1)

    @vcpu_thread
    def mmio_write(self, offset: int, size: int, value: int) -> None:
        """An access narrower than the register changes its part of the value, and is a write of the whole to handlers.

        Where no register is, and to read-only ones, nothing happens.
        """
        register = self._find(offset, size)
        if register is None or register.read_only:
            return
        shift = 8 * (offset - register.offset)
        kept = register.mask & ~((1 << 8 * size) - 1 << shift)
        value = value << shift & register.mask & ~kept
        if register.bus_write is not None:
            try:
                with self.lock:
                    register.bus_write(self, self.register_values[register.name] & kept | value)
            except Exception as error:
                self._bus_handler_failed(error)
        elif register.home_write is not None or not self._posted.idle:
            self._posted.make_room()
            self._posted.post(lambda: self._store(register, kept, value))
        else:
            self._set_value(register, kept, value)

    def _store(self, register: Register, kept: int, value: int) -> Any:
        value = self._set_value(register, kept, value)
        return register.home_write(self, value) if register.home_write is not None else None

    def _set_value(self, register: Register, kept: int, value: int) -> int:
        with self.lock:
            value |= self.register_values[register.name] & kept
            self.register_values[register.name] = value
        return value

    def _read(self, register: Register) -> int:
        if register.bus_read is not None:
            value: Any = 0
            try:
                with self.lock:
                    value = register.bus_read(self)
                masked: int = value & register.mask
                return masked
            except Exception as error:
                self._bus_handler_failed(self._to_blame(register.bus_read, value, error))
                return 0
        if register.home_read is not None:
            return self._read_at_home(register.home_read) & register.mask
        self._posted.fence()
        return self.register_values[register.name]

    def _read_at_home(self, handler: Callable[[Any], Any]) -> int:
        value = self._posted.call(lambda: handler(self))
        if isinstance(value, int):
            return value
        # None also when it has failed, which has been reported.
        if value is not None:
            self._bus_handler_failed(WrongResult(handler, value, "a number"))
        return 0

    def _to_blame(self, handler: Callable[..., Any], value: object, error: Exception) -> Exception:
        return error if isinstance(value, int) else WrongResult(handler, value, "a number")

    def _find(self, offset: int, size: int) -> Register | None:
        """The register that an access begins in; a narrow one must lie in it wholly."""
        register = self.registers.get(offset)
        if register is not None:
            return register
        for other in self.registers.values():
            if other.offset <= offset and offset + size <= other.end:
                return other
        return None

    @any_thread
    def post(self, work: Any) -> None:
        """Do ``work()`` at home, behind all that has been posted: for bus handlers."""
        self._posted.post(work)

    def _bus_handler_failed(self, error: Exception) -> None:
        """On a vCPU's thread, which goes on."""
        self.context.schedule_oneshot(lambda: self._handler_failed(error))

    def _handler_failed(self, error: BaseException) -> None:
        self.context.loop.call_exception_handler({"message": f"register handler of {self!r}", "exception": error})
