# SPDX-License-Identifier: GPL-2.0-or-later
"""VirtioDriver: a driver on the MMIO transport, as far as all device types have it in common (virtio 1.2, 3.1, 4.2).

    driver = VirtioDriver(registers, memory, allocator)
    await driver.start()                                     # 3.1.1, all of it
    buffer = await driver.queues[0].request([b"abc"], [3])   # add, ring, wait for the interrupt
    await driver.reset()

Each step of ``start`` is a method too, for tests that leave one out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from asyncemu.memory import AddressSpace
from asyncemu.testing.mmio_bus import DeviceRegisters
from asyncemu.testing.queue_driver import GuestAllocator, GuestBuffer, QueueDriver
from asyncemu.virtio.defs import F_EVENT_IDX, ISR_CONFIG, Status
from asyncemu.virtio.mmio_registers import CONFIG, MAGIC_VALUE, VERSION_2, Register

#: Queues of a device at most; a bound for the search, not of the specification.
MAX_QUEUES: Final = 256


class FeaturesRefused(Exception):
    """The device does not work with the features that were asked for: 3.1.1, step 6."""


class DriverQueue(QueueDriver):
    """A queue of a driver: can be rung, and waited for."""

    def __init__(self, driver: VirtioDriver, index: int, size: int, event_index: bool) -> None:
        super().__init__(driver.memory, driver.allocator, size, event_index=event_index)
        self.driver = driver
        self.index = index

    async def kick(self, *, always: bool = False) -> bool:
        """Publish, and ring if the device wants that (or ``always``); was it rung?"""
        wanted = self.publish() or always
        if wanted:
            await self.driver.registers.write32(Register.QUEUE_NOTIFY, self.index)
        return wanted

    async def done(self, *buffers: GuestBuffer) -> None:
        """Return when the device has given all of them back; TimeoutError when it does not."""
        await self.driver.interrupts_until(lambda: all(buffer.done for buffer in buffers))

    async def request(
        self, readable: Sequence[bytes], writable: Sequence[int], *, indirect: bool = False
    ) -> GuestBuffer:
        """Add one buffer, ring, and wait until it is done."""
        buffer = self.add(readable, writable, indirect=indirect)
        await self.kick()
        await self.done(buffer)
        return buffer


class VirtioDriver:
    """The driver of the device behind ``registers``. Home: the context of the registers' interrupt."""

    def __init__(self, registers: DeviceRegisters, memory: AddressSpace, allocator: GuestAllocator) -> None:
        self.registers = registers
        self.irq = registers.irq
        self.memory = memory
        self.allocator = allocator
        self.queues: list[DriverQueue] = []
        #: What was negotiated.
        self.features = 0
        #: Configuration change notifications that have come.
        self.config_changes = 0

    # ---- 3.1.1, whole and step by step

    async def start(self, features: int | None = None, *, queue_size: int = 0) -> None:
        """From reset to DRIVER_OK, with all queues. ``features`` None: all that are offered; ``queue_size`` 0: the
        largest. FeaturesRefused when the device does not want them."""
        await self.reset()
        await self.add_status(Status.ACKNOWLEDGE)
        await self.add_status(Status.DRIVER)
        await self.negotiate(features)
        for index in range(MAX_QUEUES):
            if not await self.max_queue_size(index):
                break
            await self.set_up_queue(index, queue_size)
        await self.add_status(Status.DRIVER_OK)

    async def probe(self) -> int:
        """The device id; 0 is an empty slot. LookupError where no transport of this version is."""
        magic = await self.registers.read32(Register.MAGIC)
        version = await self.registers.read32(Register.VERSION)
        if (magic, version) != (MAGIC_VALUE, VERSION_2):
            raise LookupError(f"magic {magic:#x}, version {version}: no virtio-mmio of version 2")
        return await self.registers.read32(Register.DEVICE_ID)

    async def reset(self) -> None:
        """Status 0, and wait until the device says so (4.2.3.1.1)."""
        await self.registers.write32(Register.STATUS, 0)
        while await self.status():
            pass
        self.queues = []
        self.features = 0

    async def status(self) -> Status:
        """The status bits, after all that this driver has written has taken effect."""
        return Status(await self.registers.read32(Register.STATUS))

    async def add_status(self, bits: int) -> None:
        """Set status bits, keeping those that are set."""
        await self.registers.write32(Register.STATUS, await self.status() | bits)

    async def offered_features(self) -> int:
        """All feature bits that the device offers."""
        halves = [
            await self.registers.select32(Register.DEVICE_FEATURES_SELECT, half, Register.DEVICE_FEATURES)
            for half in (0, 1)
        ]
        return halves[0] | halves[1] << 32

    async def negotiate(self, features: int | None = None) -> None:
        """Write ``features`` (None: all offered), set FEATURES_OK and look whether it stays."""
        wanted = await self.offered_features() if features is None else features
        await self.registers.write32_all(
            (Register.DRIVER_FEATURES_SELECT, 0),
            (Register.DRIVER_FEATURES, wanted & 0xFFFFFFFF),
            (Register.DRIVER_FEATURES_SELECT, 1),
            (Register.DRIVER_FEATURES, wanted >> 32 & 0xFFFFFFFF),
        )
        await self.add_status(Status.FEATURES_OK)
        if not await self.status() & Status.FEATURES_OK:
            raise FeaturesRefused(f"{wanted:#x}")
        self.features = wanted

    async def max_queue_size(self, index: int) -> int:
        """Entries that queue ``index`` can have; 0: there is no such queue."""
        return await self.registers.select32(Register.QUEUE_SELECT, index, Register.QUEUE_SIZE_MAX)

    async def set_up_queue(self, index: int, size: int = 0) -> DriverQueue:
        """Allocate queue ``index`` (size 0: the largest), tell the device where it is, and make it ready: 4.2.3.2."""
        size = size or await self.max_queue_size(index)
        queue = DriverQueue(self, index, size, bool(self.features & F_EVENT_IDX))
        await self.write_queue(index, size, queue.descriptors, queue.available, queue.used)
        self.queues.append(queue)
        return queue

    async def write_queue(self, index: int, size: int, descriptors: int, available: int, used: int) -> None:
        """Write any size and addresses for queue ``index``, and make it ready."""
        writes: list[tuple[int, int]] = [(Register.QUEUE_SELECT, index), (Register.QUEUE_SIZE, size)]
        for low, address in (
            (Register.QUEUE_DESC_LOW, descriptors),
            (Register.QUEUE_DRIVER_LOW, available),
            (Register.QUEUE_DEVICE_LOW, used),
        ):
            writes += [(low, address & 0xFFFFFFFF), (low + 4, address >> 32)]
        await self.registers.write32_all(*writes, (Register.QUEUE_READY, 1))

    async def stop_queue(self, index: int) -> None:
        """Take queue ``index`` back from the device, and wait until it has let go of it (4.2.2.2, QueueReady)."""
        await self.registers.write32_all((Register.QUEUE_SELECT, index), (Register.QUEUE_READY, 0))
        while await self.registers.select32(Register.QUEUE_SELECT, index, Register.QUEUE_READY):
            pass
        self.queues = [queue for queue in self.queues if queue.index != index]

    # ---- in use

    async def interrupts_until(self, condition: Callable[[], bool]) -> None:
        """Serve interrupts until ``condition()``: acknowledge, then collect from all queues. TimeoutError when none
        comes."""
        while not condition():
            await self.irq.wait()
            cause = await self.registers.read32(Register.INTERRUPT_STATUS)
            await self.registers.write32(Register.INTERRUPT_ACK, cause)
            self.config_changes += bool(cause & ISR_CONFIG)
            for queue in self.queues:
                queue.collect()

    async def wait_needs_reset(self) -> None:
        """Return when the device has said by a configuration interrupt that it needs a reset (2.1.2)."""
        seen = self.config_changes
        await self.interrupts_until(lambda: self.config_changes > seen)
        if not await self.status() & Status.NEEDS_RESET:
            raise AssertionError("a configuration interrupt, but the device does not need a reset")

    async def read_config(self, offset: int, length: int) -> bytes:
        """``length`` bytes of the configuration space, byte by byte, all of one generation (2.5.3)."""
        while True:
            before = await self.registers.read32(Register.CONFIG_GENERATION)
            data = bytes([await self.registers.read8(CONFIG + offset + index) for index in range(length)])
            if await self.registers.read32(Register.CONFIG_GENERATION) == before:
                return data

    async def write_config(self, offset: int, data: bytes) -> None:
        """Write one field of the configuration space: 1, 2, 4 or 8 bytes."""
        await self.registers.write(CONFIG + offset, len(data), int.from_bytes(data, "little"))
