# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest's side of things, for testing devices without a guest.

    async with DeviceBench() as bench:
        device, driver = await bench.add_virtio(Reverse, Options())
        await driver.start()
        buffer = await driver.queues[0].request([b"abc"], [3])
        assert buffer.answer == b"cba"

        device, registers = await bench.add_mmio(Stopwatch, Options())
        await registers.write32(0x04, 1)

Below that: ``VirtioDriver`` (the MMIO transport's driver), ``QueueDriver`` (the driver's half of a virtqueue, with all
that a hostile one may do), ``MmioBus`` (accesses as a vCPU makes them) and ``IrqRecorder`` (a wire to wait for).
``memory_disk``, ``memory_wire`` and ``fake_clock`` are modules of their own.
"""

from asyncemu.testing.bench import DeviceBench, RecordingPlatform
from asyncemu.testing.interrupt import IrqRecorder
from asyncemu.testing.mmio_bus import DeviceRegisters, MmioBus
from asyncemu.testing.queue_driver import GuestAllocator, GuestBuffer, QueueDriver
from asyncemu.testing.virtio_driver import DriverQueue, FeaturesRefused, VirtioDriver
from asyncemu.testing.waiting import until

__all__ = [
    "DeviceBench",
    "DeviceRegisters",
    "DriverQueue",
    "FeaturesRefused",
    "GuestAllocator",
    "GuestBuffer",
    "IrqRecorder",
    "MmioBus",
    "QueueDriver",
    "RecordingPlatform",
    "VirtioDriver",
    "until",
]
