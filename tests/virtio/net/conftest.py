# SPDX-License-Identifier: GPL-2.0-or-later
"""A card, its driver, and the wire that it is plugged into."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from asyncemu.testing import DeviceBench, DriverQueue, GuestBuffer, VirtioDriver
from asyncemu.testing.memory_wire import MemoryNetdev, MemoryNetdevOptions
from asyncemu.virtio.net import NetConfig, NetOptions, VirtioNet

HEADER = struct.Struct("<BBHHHHH")
PLAIN_HEADER = bytes(12)

#: A frame to everybody, and one to the first card of a machine.
BROADCAST = b"\xff" * 6 + b"\x52\x54\x00\x00\x00\x01" + b"\x08\x06" + bytes(46)
MAC = bytes.fromhex("525400123456")
UNICAST = MAC + b"\x52\x54\x00\x00\x00\x01" + b"\x08\x00" + bytes(range(86))


@dataclass
class Card:
    """A virtio-net whose driver is up."""

    device: VirtioNet
    driver: VirtioDriver
    netdev: MemoryNetdev

    @property
    def receiveq(self) -> DriverQueue:
        return self.driver.queues[0]

    @property
    def transmitq(self) -> DriverQueue:
        return self.driver.queues[1]

    @property
    def controlq(self) -> DriverQueue:
        return self.driver.queues[2 * len(self.netdev.wires)]

    async def offer(self, *rooms: int) -> list[GuestBuffer]:
        """Receive buffers of so many bytes each."""
        buffers = [self.receiveq.add([], [room]) for room in rooms]
        await self.receiveq.kick(always=True)
        return buffers

    async def transmit(self, *parts: bytes, header: bytes = PLAIN_HEADER) -> GuestBuffer:
        """One frame, and wait until its buffer comes back."""
        return await self.transmitq.request([header, *parts], [])

    async def command(self, kind: int, command: int, data: bytes = b"") -> int:
        """The device's answer on the control queue."""
        buffer = await self.controlq.request([bytes([kind, command]), *([data] if data else [])], [1])
        return buffer.answer[0]

    async def config(self) -> NetConfig:
        """What the driver reads in the configuration space."""
        return NetConfig.from_buffer_copy(await self.driver.read_config(0, 17))


MakeCard = Callable[..., Awaitable[Card]]


@pytest.fixture
def make_card(bench: DeviceBench) -> MakeCard:
    """``await make_card(features, queues=..., vnet_hdr=..., **options)``: a card, started with ``features``."""

    async def make(
        features: int | None = None, *, queues: int = 1, vnet_hdr: bool = True, start: bool = True, **options: Any
    ) -> Card:
        netdev_options = MemoryNetdevOptions(queues=queues, vnet_hdr=vnet_hdr)
        netdev = MemoryNetdev(netdev_options, f"net{len(bench.devices)}", bench.context, bench.clocks)
        device, driver = await bench.add_virtio(VirtioNet, NetOptions(netdev="net0", **options), netdev=netdev)
        if start:
            await driver.start(features)
        return Card(device, driver, netdev)

    return make


@pytest.fixture
async def card(make_card: MakeCard) -> Card:
    """A card whose driver has accepted all features."""
    return await make_card()
