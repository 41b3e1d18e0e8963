# SPDX-License-Identifier: GPL-2.0-or-later
"""The board `virt`: memory map and interrupt numbers of QEMU's riscv64 board of that name, so that one kernel and one
initial RAM disk boot in both."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from asyncemu import author_errors
from asyncemu.devices import Device, Environment, MmioDevice
from asyncemu.devices.clint import Clint, ClintHart
from asyncemu.devices.goldfish_rtc import GoldfishRtc
from asyncemu.devices.plic import Plic
from asyncemu.devices.sifive_test import SifiveTest
from asyncemu.devices.uart16550 import Uart16550, UartOptions
from asyncemu.errors import ConfigError
from asyncemu.machine.device_tree import Node, u64
from asyncemu.machine.device_types import BoardError, HotplugRefused, device_type
from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.options import Options
from asyncemu.plugins import Plugin
from asyncemu.vcpu.tcg.riscv import MEIP, NS_PER_TICK, SEIP
from asyncemu.virtio.device import VirtioDevice
from asyncemu.virtio.mmio import VirtioMmio

# Address and size in bytes.
TEST: Final = (0x0010_0000, 0x1000)
RTC: Final = (0x0010_1000, 0x1000)
CLINT: Final = (0x0200_0000, 0x10000)
PLATFORM_BUS: Final = (0x0400_0000, 0x0200_0000)
PLIC: Final = (0x0C00_0000, 0x0060_0000)
UART: Final = (0x1000_0000, 0x100)
VIRTIO: Final = (0x1000_1000, 0x1000)
VIRTIO_SLOTS: Final = 8
RAM_BASE: Final = 0x8000_0000

#: Room in the device tree for what firmware adds, in bytes. U-Boot's booti, on the tree that it was given, overwrites
#: its own data where there is none; OpenSBI leaves it more.
SLACK: Final = 2048

HARTS: Final = 1

# PLIC sources.
VIRTIO_IRQ: Final = 1
UART_IRQ: Final = 10
RTC_IRQ: Final = 11
PLATFORM_BUS_IRQ: Final = 64
PLATFORM_BUS_IRQS: Final = 32
PLIC_SOURCES: Final = 96

#: Unicorn's SiFive U54: what the device tree may promise.
ISA_EXTENSIONS: Final = ("i", "m", "a", "f", "d", "c", "zicsr", "zifencei")


#: QEMU's name for where devices with fixed addresses are.
PLATFORM_BUS_NAME: Final = "main-system-bus"


def slot_bus(index: int) -> str:
    """QEMU's name of a virtio-mmio slot's bus."""
    return f"virtio-mmio-bus.{index}"


class Virt:
    """One board. Built in steps: construct, ``add`` devices, ``wire`` the harts, ``device_tree``."""

    ram_base = RAM_BASE

    def __init__(self, environment: Environment, memory: AddressSpace, ram: GuestRam) -> None:
        self.environment = environment
        self.memory = memory
        self.ram = ram
        # Shared with the CLINT; the harts come last.
        self.cpus: list[ClintHart] = []
        self.clint = Clint(self.cpus, HARTS)
        self.plic = Plic(PLIC_SOURCES, [self._output(0, MEIP), self._output(0, SEIP)])
        self.test = SifiveTest(Options(), "test", environment)
        self.rtc = GoldfishRtc(Options(), "rtc", environment)
        self.uart = Uart16550(UartOptions(), "serial0", environment)
        self.rtc.irq = self.plic.line(RTC_IRQ, "rtc")
        self.uart.irq = self.plic.line(UART_IRQ, "serial0")
        self.test.irq = self.plic.line(PLIC_SOURCES, "test")
        self.slots = [
            VirtioMmio(self.plic.line(VIRTIO_IRQ + index, f"virtio{index}"), environment.context)
            for index in range(VIRTIO_SLOTS)
        ]
        #: Devices that the user has added to the platform bus, with address and source.
        self.platform_devices: list[tuple[MmioDevice[Any], int, int]] = []
        self._platform_next = PLATFORM_BUS[0]
        memory.add_ram(RAM_BASE, ram)
        memory.add_mmio(*TEST, self.test, "test")
        memory.add_mmio(*RTC, self.rtc, "rtc")
        memory.add_mmio(*CLINT, self.clint, "clint")
        memory.add_mmio(*PLIC, self.plic, "plic")
        memory.add_mmio(*UART, self.uart, "serial0")
        for index, slot in enumerate(self.slots):
            memory.add_mmio(VIRTIO[0] + index * VIRTIO[1], VIRTIO[1], slot, f"virtio{index}")

    def _output(self, hart: int, line: int) -> Callable[[bool], None]:
        def drive(level: bool) -> None:
            if self.cpus:
                self.cpus[hart].set_line(line, level)

        return drive

    @property
    def own_devices(self) -> tuple[Device[Any], ...]:
        """Devices that are on every board of this type."""
        return (self.test, self.rtc, self.uart)

    def plug(self, device: Device[Any], where: str, bus: str = "") -> None:
        """Give a user's device its place, on ``bus`` if it is given. Raises ConfigError when there is none."""
        if isinstance(device, VirtioDevice):
            for index, slot in enumerate(self.slots):
                if slot.device is None and bus in ("", slot_bus(index)):
                    slot.plug(device)
                    return
            raise ConfigError(where, f"all {VIRTIO_SLOTS} virtio slots of the board are taken", "remove a device")
        if isinstance(device, MmioDevice):
            self._plug_platform(device, where)
            return
        raise ConfigError(where, f"{device.name} is for no bus of this board")

    def unplug(self, device: Device[Any]) -> None:
        """Take a virtio device, which is unrealized, out again; one on the platform bus keeps its place."""
        for slot in self.slots:
            if slot.device is device:
                slot.unplug()

    def check_hotplug(self, plugin: type[Plugin[Any]], bus: str, has_run: bool) -> None:
        """May a device of this class be plugged in now? ``bus`` is the one that it shall be on, or empty.

        A virtio-mmio slot says nothing of what comes or goes: the guest looks once. So its device may change until the
        guest has run, and never afterwards; and the device tree, which has the devices of the platform bus, is made
        before. A bus with hot-plug (PCI) says so here. HotplugRefused, in QEMU's words.
        """
        if not issubclass(plugin, VirtioDevice):
            raise HotplugRefused(PLATFORM_BUS_NAME)
        names = self.buses()
        if bus and bus not in names:
            raise BoardError(f"Bus '{bus}' not found")
        free = [name for name, slot in zip(names, self.slots, strict=True) if slot.device is None]
        if bus and bus not in free:
            raise BoardError(f"Bus '{bus}' is full")
        if has_run:
            raise HotplugRefused(bus or (free or names)[0])
        if not free:
            raise BoardError(f"No 'virtio-bus' bus found for device '{device_type(plugin)}'")

    def buses(self) -> list[str]:
        """The names of all buses for virtio devices."""
        return [slot_bus(index) for index in range(VIRTIO_SLOTS)]

    def bus_of(self, device: Device[Any]) -> str:
        """The name of the bus that a user's device is on."""
        for index, slot in enumerate(self.slots):
            if slot.device is device:
                return slot_bus(index)
        return PLATFORM_BUS_NAME

    def check_unplug(self, device: Device[Any], has_run: bool) -> None:
        """May it be taken out? HotplugRefused."""
        bus = self.bus_of(device)
        if has_run or bus == PLATFORM_BUS_NAME:
            raise HotplugRefused(bus)

    def _plug_platform(self, device: MmioDevice[Any], where: str) -> None:
        index = len(self.platform_devices)
        address = self._platform_next
        size = -(-device.size // 0x1000) * 0x1000
        if index >= PLATFORM_BUS_IRQS or address + size > sum(PLATFORM_BUS):
            raise ConfigError(where, "the board's platform bus is full", "remove a device")
        source = PLATFORM_BUS_IRQ + index
        device.irq = self.plic.line(source, device.id)
        self.memory.add_mmio(address, device.size, device, device.id)
        self.platform_devices.append((device, address, source))
        self._platform_next = address + size

    def wire(self, cpus: Sequence[ClintHart], firmware: bool) -> None:
        """Connect the harts. After all devices are there: a hart maps what is in the address space when it is made."""
        self.cpus += cpus
        self.clint.active = firmware

    async def reset(self) -> None:
        """Power-on state of everything on the board, the users' devices included."""
        for slot in self.slots:
            await slot.context.call(slot.reset)
        for device in (*self.own_devices, *(device for device, _, _ in self.platform_devices)):
            try:
                await device.reset()
            except Exception as error:
                author_errors.report_or_raise(f"{device.id}: reset", error)
        self.plic.reset()
        self.clint.reset()

    # ---- device tree

    def device_tree(self, command_line: str, initrd: tuple[int, int] | None, harts: int = 1) -> bytes:
        """The blob that firmware and kernel get."""
        root = Node()
        root["#address-cells"] = root["#size-cells"] = 2
        root["compatible"] = "riscv-virtio"
        root["model"] = "riscv-virtio,asyncemu"
        chosen = root.add("chosen")
        root.add(f"memory@{RAM_BASE:x}", device_type="memory", reg=u64(RAM_BASE, self.ram.size))
        controllers = self._describe_harts(root, harts)
        soc = root.add("soc", {"#address-cells": 2, "#size-cells": 2}, compatible="simple-bus", ranges=True)
        plic = self._describe_interrupt_controllers(soc, controllers)
        serial = self._describe_devices(root, soc, plic)
        chosen["stdout-path"] = serial.path
        chosen["rng-seed"] = os.urandom(32)
        if command_line:
            chosen["bootargs"] = command_line
        if initrd is not None:
            chosen["linux,initrd-start"], chosen["linux,initrd-end"] = u64(initrd[0]), u64(initrd[1])
        return root.to_blob(slack=SLACK)

    def _describe_harts(self, root: Node, harts: int) -> list[Node]:
        cpus = root.add(
            "cpus", {"#address-cells": 1, "#size-cells": 0, "timebase-frequency": 1_000_000_000 // NS_PER_TICK}
        )
        controllers = []
        for hart in range(harts):
            cpu = cpus.add(
                f"cpu@{hart:x}",
                {
                    "riscv,isa": "rv64imafdc_zicsr_zifencei",
                    "riscv,isa-base": "rv64i",
                    "riscv,isa-extensions": list(ISA_EXTENSIONS),
                    "mmu-type": "riscv,sv48",
                },
                device_type="cpu",
                reg=hart,
                status="okay",
                compatible="riscv",
            )
            controllers.append(
                cpu.add(
                    "interrupt-controller",
                    {"#interrupt-cells": 1, "#address-cells": 0, "interrupt-controller": True},
                    compatible="riscv,cpu-intc",
                )
            )
        return controllers

    def _describe_interrupt_controllers(self, soc: Node, harts: list[Node]) -> Node:
        soc.add(
            f"clint@{CLINT[0]:x}",
            {"interrupts-extended": [cell for hart in harts for cell in (hart, 3, hart, 7)]},
            compatible=["sifive,clint0", "riscv,clint0"],
            reg=u64(*CLINT),
        )
        return soc.add(
            f"plic@{PLIC[0]:x}",
            {
                "#interrupt-cells": 1,
                "#address-cells": 0,
                "interrupt-controller": True,
                "interrupts-extended": [cell for hart in harts for cell in (hart, 11, hart, 9)],
                "riscv,ndev": PLIC_SOURCES,
            },
            compatible=["sifive,plic-1.0.0", "riscv,plic0"],
            reg=u64(*PLIC),
        )

    def _describe_devices(self, root: Node, soc: Node, plic: Node) -> Node:
        test = soc.add(f"test@{TEST[0]:x}", compatible=list(self.test.compatible), reg=u64(*TEST))
        for name, value in (("poweroff", 0x5555), ("reboot", 0x7777)):
            root.add(name, compatible=f"syscon-{name}", regmap=test, offset=0, value=value)

        def device(name: str, compatible: str | list[str], address: int, size: int, source: int) -> Node:
            return soc.add(
                f"{name}@{address:x}",
                {"interrupt-parent": plic},
                compatible=compatible,
                reg=u64(address, size),
                interrupts=source,
            )

        device("rtc", list(self.rtc.compatible), *RTC, RTC_IRQ)
        serial = device("serial", list(self.uart.compatible), *UART, UART_IRQ)
        serial["clock-frequency"] = 3_686_400
        for index in range(VIRTIO_SLOTS):
            device("virtio_mmio", "virtio,mmio", VIRTIO[0] + index * VIRTIO[1], VIRTIO[1], VIRTIO_IRQ + index)
        for model, address, source in self.platform_devices:
            compatible = list(model.compatible) or [f"asyncemu,{model.name}"]
            device(model.name, compatible, address, model.size, source)
        return serial
