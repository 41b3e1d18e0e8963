# SPDX-License-Identifier: GPL-2.0-or-later
"""Reverse, with the guest's half of its queue in the test."""

from __future__ import annotations

from reverse import Reverse, ReverseOptions

from asyncemu.testing import DeviceBench, seeded_schedules


async def test_request_is_answered_reversed() -> None:
    async with DeviceBench() as bench:
        _, driver = await bench.add_virtio(Reverse, ReverseOptions())
        await driver.start()

        buffer = await driver.queues[0].request([b"stressed"], [8])

        assert buffer.answer == b"desserts"
        assert await driver.read_config(8, 8) == (1).to_bytes(8, "little")


async def test_request_that_is_too_long_makes_the_device_need_a_reset() -> None:
    async with DeviceBench() as bench:
        _, driver = await bench.add_virtio(Reverse, ReverseOptions(max_request=2))
        await driver.start()
        driver.queues[0].add([b"abc"], [3])

        await driver.queues[0].kick()

        await driver.wait_needs_reset()


@seeded_schedules(20)
async def test_eight_requests_at_once_in_any_order_of_wake_ups() -> None:
    async with DeviceBench() as bench:
        _, driver = await bench.add_virtio(Reverse, ReverseOptions())
        await driver.start()
        queue = driver.queues[0]

        buffers = [queue.add([b"a%d" % number], [2]) for number in range(8)]
        await queue.kick()
        await queue.done(*buffers)

        assert [buffer.answer for buffer in buffers] == [b"%da" % number for number in range(8)]
