# SPDX-License-Identifier: GPL-2.0-or-later
"""A driver of virtio-net with a hostile hand on the control queue, and a frame behind each command.

    8 bytes   bits that are taken away from the features offered
    then      1 byte: bit 7: the device is reset first; bits 0 to 6: bytes of room for the answer, modulo 3
              class, command, 2 bytes length, the data; 16 bytes, the head of the frame that arrives next

The answer is OK or an error, the tables stay within their bounds, and what is let in is what the filter says.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

from asyncemu.loop import AioContext
from asyncemu.testing import DeviceBench, VirtioDriver
from asyncemu.testing.memory_wire import MemoryNetdev, MemoryNetdevOptions
from asyncemu.virtio.defs import Status
from asyncemu.virtio.net import NetOptions, VirtioNet
from asyncemu.virtio.net.receive_filter import HEAD, MAX_ADDRESSES
from fuzz.choices import Choices
from fuzz.driving import Defect, drive

#: Commands of one input at most.
_COMMANDS: Final = 16
_FRAME: Final = 60
#: virtio 1.0, without which nothing begins.
_NEEDED: Final = 1 << 32
_CONTROL: Final = 2


def fuzz_one(data: bytes) -> None:
    """Obey the commands."""
    drive(lambda context: _obey(context, Choices(data)))


async def _obey(context: AioContext, choices: Choices) -> None:
    async with DeviceBench(context) as bench:
        netdev = MemoryNetdev(MemoryNetdevOptions(), "net0", context, bench.clocks)
        device, driver = await bench.add_virtio(VirtioNet, NetOptions(netdev="net0"), netdev=netdev)
        features = await driver.probe() & ~choices.number(8) | _NEEDED
        await driver.reset()
        await driver.start(features)
        for _ in range(_COMMANDS):
            if not choices.left:
                return
            if not await _one(device, driver, netdev, features, choices):
                return


async def _one(device: VirtioNet, driver: VirtioDriver, netdev: MemoryNetdev, features: int, choices: Choices) -> bool:
    """False: the device wants a reset, as it must after a request that is none."""
    kind = choices.number(1)
    if kind & 0x80:
        await driver.start(features)
    room = (kind & 0x7F) % 3
    header = choices.take(2)
    request = header + choices.take(choices.number(2))
    if len(driver.queues) > _CONTROL:
        control = driver.queues[_CONTROL]
        if len(header) < 2 or not room:
            if request or room:
                control.add([request] if request else [], [room] if room else [])
                await control.kick(always=True)
                await driver.wait_needs_reset()
            return False
        buffer = await control.request([request], [room])
        if buffer.answer not in (b"\0", b"\1"):
            raise Defect(f"an answer is {buffer.answer!r}")
    if await driver.status() & Status.NEEDS_RESET:
        raise Defect("the device wants a reset after a request in good form")
    info = device.rx_filter()
    if len(info.unicast_table) + len(info.multicast_table) > MAX_ADDRESSES:
        raise Defect("more addresses than there is room for")
    _receive(device, driver, netdev, choices.take(HEAD).ljust(HEAD, b"\0"))
    return True


def _receive(device: VirtioNet, driver: VirtioDriver, netdev: MemoryNetdev, head: bytes) -> None:
    receiveq = driver.queues[0]
    receiveq.add([], [2048])
    receiveq.publish()
    before = device.statistics()
    netdev.feed(head + bytes(_FRAME - HEAD))
    after = device.statistics()
    filtered = after["received-filtered"] > before["received-filtered"]
    if device.pairs[0].carrier and filtered is device.filter.accepts(head):
        raise Defect(f"a frame that begins with {head.hex()} was let in, or was not, against the filter")
    receiveq.collect()


def seeds() -> Sequence[bytes]:
    """All commands, with and without their features, and requests that are none."""
    addresses = struct.pack("<I", 2) + bytes(range(12)) + struct.pack("<I", 1) + b"\1\0\x5e\0\0\1"
    commands = [
        *((0, command, b"\1") for command in range(6)),
        (0, 0, b"\0"),
        (1, 0, addresses),
        (1, 1, b"\x52\x54\0\1\2\3"),
        (2, 0, b"\5\0"),
        (2, 1, b"\5\0"),
        (3, 0, b""),
        (4, 0, b"\1\0"),
        (5, 0, b"\2" + bytes(7)),
    ]
    head = b"\x52\x54\0\1\2\3" + bytes(6) + b"\x81\0\0\5"
    parts = [b"\1" + struct.pack(">BBH", *command[:2], len(command[2])) + command[2] + head for command in commands]
    taken = [bytes(8), b"\0\0\0\0\0\4\0\0", b"\xff" * 8]
    many = struct.pack("<I", 70) + bytes(420) + struct.pack("<I", 0)
    return [
        *(mask + b"".join(parts) for mask in taken),
        bytes(8) + parts[6] + b"\x81" + parts[7][1:],
        bytes(8) + b"\1\1\0" + struct.pack(">H", len(many)) + many + head,
        bytes(8) + b"\0\0\0\0\0",
        bytes(8) + b"\1",
    ]
