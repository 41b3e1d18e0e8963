# SPDX-License-Identifier: GPL-2.0-or-later
"""DeviceBench: RAM, a bus and interrupt wires around the devices under test; a machine without CPUs."""

from __future__ import annotations

import asyncio
import dataclasses
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from asyncemu.devices import Device, Environment, MmioDevice
from asyncemu.events import Event
from asyncemu.loop import AioContext, Clocks, home
from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.options import Options
from asyncemu.testing.interrupt import IrqRecorder
from asyncemu.testing.mmio_bus import DeviceRegisters, MmioBus
from asyncemu.testing.queue_driver import GuestAllocator
from asyncemu.testing.virtio_driver import VirtioDriver
from asyncemu.virtio.device import VirtioDevice
from asyncemu.virtio.mmio import VirtioMmio

MmioDeviceT = TypeVar("MmioDeviceT", bound=MmioDevice[Any])
VirtioDeviceT = TypeVar("VirtioDeviceT", bound=VirtioDevice[Any])

RAM_BASE: Final = 0x8000_0000
#: The first device's registers; each next one is a step further.
DEVICE_BASE: Final = 0x1000_0000
DEVICE_STEP: Final = 0x0100_0000


class RecordingPlatform:
    """Notes what devices ask of the machine."""

    def __init__(self) -> None:
        #: ``failed`` of each request to power off.
        self.shutdowns: list[bool] = []
        #: How often a reboot was asked for.
        self.resets = 0
        #: How often a back end's error was to stop the machine.
        self.io_error_stops = 0
        #: What was to be told to those who control the machine.
        self.events: list[Event] = []

    def request_shutdown(self, failed: bool) -> None:
        """See devices.Platform."""
        self.shutdowns.append(failed)

    def request_reset(self) -> None:
        """See devices.Platform."""
        self.resets += 1

    def request_io_error_stop(self) -> None:
        """See devices.Platform."""
        self.io_error_stops += 1

    def emit(self, event: Event) -> None:
        """See devices.Platform."""
        self.events.append(event)


class DeviceBench:
    """``async with DeviceBench() as bench``: everything is closed at the end. Home: the running loop.

    ``context`` is made on the running loop when it is not given; guest time runs, on ``clocks`` or the kernel's.
    ``objects`` is what options deep inside a device's own refer to, as {("chardev", id): object}.
    """

    def __init__(
        self,
        context: AioContext | None = None,
        *,
        clocks: Clocks | None = None,
        ram_size: int = 1 << 20,
        objects: dict[tuple[str, str], Any] | None = None,
    ) -> None:
        self._own_context = context is None
        self.context = context or AioContext(asyncio.get_running_loop(), "bench")
        self.clocks = clocks or Clocks()
        self.clocks.run_virtual(True)
        self.ram = GuestRam(ram_size)
        self.memory = AddressSpace()
        self.memory.add_ram(RAM_BASE, self.ram)
        self.allocator = GuestAllocator(RAM_BASE, ram_size)
        self.platform = RecordingPlatform()
        self.objects = objects if objects is not None else {}
        self.environment = Environment(
            self.context, self.memory, self.clocks, self.platform, lambda kind, name: self.objects[kind, name]
        )
        self.bus = MmioBus(self.memory)
        self.devices: list[Device[Any]] = []
        self.slots: list[VirtioMmio] = []

    @home
    async def add_mmio(
        self, device_class: type[MmioDeviceT], options: Options, **references: Any
    ) -> tuple[MmioDeviceT, DeviceRegisters]:
        """A realized device, and its registers as the guest sees them.

        ``references`` are the attributes that the machine would set from options: ``chardev=...``.
        """
        device = device_class(options, f"{device_class.name}{len(self.devices)}", self.environment)
        irq = IrqRecorder(self.context, device.id)
        device.irq = irq.line
        base = self._map(device, device.size, device.id)
        await self._realize(device, references)
        return device, DeviceRegisters(self.bus, base, irq)

    @home
    async def add_virtio(
        self, device_class: type[VirtioDeviceT], options: Options, home: AioContext | None = None, **references: Any
    ) -> tuple[VirtioDeviceT, VirtioDriver]:
        """A realized device in an MMIO slot of its own, and a driver that has not started yet.

        ``home`` is where the device lives (an IOThread's context, say), the bench's own context where not given; what
        the references name lives there already.
        """
        slot, driver = self.add_slot()
        context = home or self.context

        async def make() -> VirtioDeviceT:
            environment = dataclasses.replace(self.environment, context=context)
            device = device_class(options, f"{device_class.name}{len(self.devices)}", environment)
            for name, value in references.items():
                setattr(device, name, value)
            slot.plug(device)
            await self._realize(device, references)
            return device

        return await context.call(make), driver

    @home
    def add_slot(self) -> tuple[VirtioMmio, VirtioDriver]:
        """An empty virtio slot, and a driver to look into it."""
        irq = IrqRecorder(self.context, f"slot{len(self.slots)}")
        slot = VirtioMmio(irq.line, self.context)
        base = self._map(slot, slot.size, irq.line.name)
        self.slots.append(slot)
        return slot, VirtioDriver(DeviceRegisters(self.bus, base, irq), self.memory, self.allocator)

    def _map(self, handler: Any, size: int, name: str) -> int:
        base = DEVICE_BASE + DEVICE_STEP * (len(self.memory.regions) - 1)
        self.memory.add_mmio(base, size, handler, name)
        return base

    async def _realize(self, device: Device[Any], references: dict[str, Any]) -> None:
        for name, value in references.items():
            setattr(device, name, value)
        self.devices.append(device)
        await device.realize()

    @home
    async def reset(self) -> None:
        """The machine's reset: devices and slots; RAM keeps its contents."""
        for slot in self.slots:
            await slot.context.call(slot.reset)
        for device in self.devices:
            await device.context.call(device.reset)

    @home
    async def close(self) -> None:
        """Unrealize all devices, and give everything back."""
        for slot in self.slots:
            await slot.context.call(slot.close)
        for device in self.devices:
            await device.context.call(device.unrealize)
        self.bus.close()
        self.ram.close()
        if self._own_context:
            self.context.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
