# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-rng: 5.4."""

from __future__ import annotations

import pytest

from asyncemu.options import Options
from asyncemu.testing import DeviceBench, DriverQueue, VirtioDriver
from asyncemu.virtio.rng import MAX_BYTES, VirtioRng


@pytest.fixture
async def driver(bench: DeviceBench) -> VirtioDriver:
    _, driver = await bench.add_virtio(VirtioRng, Options())
    await driver.start()
    return driver


@pytest.fixture
def queue(driver: VirtioDriver) -> DriverQueue:
    return driver.queues[0]


async def test_probe_is_an_entropy_source(driver: VirtioDriver) -> None:
    assert await driver.probe() == 4


@pytest.mark.parametrize("room", [[1], [64], [10, 20, 30]])
async def test_request_fills_all_of_the_buffer(queue: DriverQueue, room: list[int]) -> None:
    buffer = await queue.request([], room)

    assert buffer.written == sum(room)


async def test_request_answers_differ(queue: DriverQueue) -> None:
    first = await queue.request([], [32])
    second = await queue.request([], [32])

    assert first.answer != second.answer != bytes(32)


async def test_request_larger_than_bound_is_answered_in_part(queue: DriverQueue) -> None:
    buffer = await queue.request([], [MAX_BYTES, 4096])

    assert buffer.written == MAX_BYTES


async def test_request_without_room_needs_reset(driver: VirtioDriver, queue: DriverQueue) -> None:
    queue.add([b"seed"], [])
    await queue.kick()

    await driver.wait_needs_reset()
