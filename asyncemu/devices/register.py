# SPDX-License-Identifier: GPL-2.0-or-later
"""Registers of an MMIO device, declared as class attributes.

    alarm = reg(0x08)

    @alarm.on_write
    async def _arm(self, value: int) -> None: ...

In the class, ``self.alarm`` is the register's value. Without a handler the guest reads and writes that value, with no
hand-over to the device's home. Handlers come in two forms:

    on_write, on_read             at home; may be coroutines. A write is posted, a read makes the vCPU wait.
                                  See mmio_device for the order in which the guest finds things done.
    on_bus_write, on_bus_read     on the vCPU's thread at once, under the device's lock; they must be short, never wait,
                                  and touch only what the lock guards. For interrupt status, FIFOs, time stamps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, overload

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


class Register:
    """One register; ``width`` bytes at ``offset``. Made with ``reg``."""

    def __init__(self, offset: int, width: int, reset: int, read_only: bool) -> None:
        if width not in (1, 2, 4, 8) or offset % width:
            raise ValueError(f"a register of {width} bytes at offset {offset:#x}")
        self.offset = offset
        self.width = width
        #: First byte behind it.
        self.end = offset + width
        self.mask = (1 << 8 * width) - 1
        self.reset = reset
        self.read_only = read_only
        self.name = ""
        self.home_read: Callable[[Any], Any] | None = None
        self.home_write: Callable[[Any, int], Any] | None = None
        self.bus_read: Callable[[Any], int] | None = None
        self.bus_write: Callable[[Any, int], None] | None = None

    def on_write(self, handler: HandlerT) -> HandlerT:
        """``handler(self, value)`` at home, after the value has been stored."""
        self.home_write = handler
        return handler

    def on_read(self, handler: HandlerT) -> HandlerT:
        """``handler(self) -> int`` at home; the vCPU waits for it, and for all writes posted before."""
        self.home_read = handler
        return handler

    def on_bus_write(self, handler: HandlerT) -> HandlerT:
        """``handler(self, value)`` on the vCPU's thread, under the device's lock, instead of storing the value.

        What it leaves in the register is what a later write of only a part of the register keeps.
        """
        self.bus_write = handler
        return handler

    def on_bus_read(self, handler: HandlerT) -> HandlerT:
        """``handler(self) -> int`` on the vCPU's thread, under the device's lock."""
        self.bus_read = handler
        return handler

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, device: None, owner: type) -> Register: ...
    @overload
    def __get__(self, device: Any, owner: type) -> int: ...
    def __get__(self, device: Any, owner: type) -> Register | int:
        if device is None:
            return self
        value: int = device.register_values[self.name]
        return value

    def __set__(self, device: Any, value: int) -> None:
        device.register_values[self.name] = value & self.mask


def reg(offset: int, *, width: int = 4, reset: int = 0, read_only: bool = False) -> Register:
    """Declare a register of ``width`` bytes (1, 2, 4 or 8) at ``offset`` bytes, ``reset`` at power-on."""
    return Register(offset, width, reset, read_only)
