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
``FakeClock`` is time that a test moves, ``seeded_schedules`` runs a test under many orders of wake-ups, to find races.
``memory_disk`` (with a ``Fault`` where one is wanted), ``memory_wire``, ``memory_chardev`` and ``memory_frontend`` are
modules of their own: what importing them makes known to vm.toml is for tests only.
"""

from asyncemu.testing.bench import DeviceBench, RecordingPlatform
from asyncemu.testing.disk_faults import Fault
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.interrupt import IrqRecorder
from asyncemu.testing.mmio_bus import DeviceRegisters, MmioBus
from asyncemu.testing.queue_driver import GuestAllocator, GuestBuffer, QueueDriver
from asyncemu.testing.seeded_schedule import SeededLoop, run_seeded, seeded_schedules
from asyncemu.testing.virtio_driver import DriverQueue, FeaturesRefused, VirtioDriver
from asyncemu.testing.waiting import until

__all__ = [
    "DeviceBench",
    "DeviceRegisters",
    "DriverQueue",
    "FakeClock",
    "Fault",
    "FeaturesRefused",
    "GuestAllocator",
    "GuestBuffer",
    "IrqRecorder",
    "MmioBus",
    "QueueDriver",
    "RecordingPlatform",
    "SeededLoop",
    "VirtioDriver",
    "run_seeded",
    "seeded_schedules",
    "until",
]
