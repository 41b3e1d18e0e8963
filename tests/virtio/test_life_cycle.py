# SPDX-License-Identifier: GPL-2.0-or-later
"""Reset with requests in flight, NEEDS_RESET, and what is left afterwards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

import pytest

from asyncemu.testing import DeviceBench, until
from asyncemu.virtio import Chain, virtqueue
from asyncemu.virtio.defs import Status
from asyncemu.virtio.device import State
from asyncemu.virtio.mmio_registers import Register
from tests.virtio.conftest import Running
from tests.virtio.models import BUG, CANCELLED, ECHO, FORBIDDEN, INPUT, Model


async def begin(running: Running, index: int, count: int = 1) -> None:
    """``count`` requests that wait at the gate."""
    running.device.gate.clear()
    queue = running.driver.queues[index]
    for number in range(count):
        queue.add([bytes([number])], [4], indirect=True)
    await queue.kick()
    await until(lambda: len(running.device.begun) == count)


async def begin_at_driver(running: Running, what: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
    """Begin a reset (or a start) at the driver; returns when the device's queues have stopped."""
    task = asyncio.ensure_future(what)
    await until(lambda: running.device.queues[ECHO].queue is None)
    return task


async def provoke(running: Running, request: bytes, index: int = ECHO) -> None:
    """A request that breaks the device, up to its NEEDS_RESET."""
    running.driver.queues[index].add([request], [4])
    await running.driver.queues[index].kick()
    await running.driver.wait_needs_reset()


# ---- reset in flight


async def test_reset_waits_until_requests_in_flight_are_finished(running: Running) -> None:
    await begin(running, ECHO, 3)
    reset = await begin_at_driver(running, running.driver.reset())
    waiting = not reset.done()

    running.device.gate.set()
    await reset

    assert waiting
    assert running.device.state is State.INACTIVE


async def test_reset_finished_requests_are_not_given_back(running: Running) -> None:
    await begin(running, ECHO)
    queue = running.driver.queues[ECHO]
    reset = await begin_at_driver(running, running.driver.reset())

    running.device.gate.set()
    await reset

    assert (queue.used_index, running.driver.irq.raised) == (0, 0)


async def test_reset_cancels_requests_of_queue_that_says_so(running: Running) -> None:
    await begin(running, CANCELLED, 2)

    await running.driver.reset()

    assert running.device.cancelled == [b"\0", b"\1"]
    assert running.driver.irq.raised == 0


async def test_reset_no_memory_touched_afterwards(bench: DeviceBench, running: Running) -> None:
    await begin(running, ECHO, 2)
    reset = await begin_at_driver(running, running.driver.reset())
    running.device.gate.set()
    await reset
    bench.ram.view[:] = bytes(len(bench.ram.view))

    await running.driver.status()
    await asyncio.sleep(0)

    assert bench.ram.view == bytes(len(bench.ram.view))


async def test_reset_while_one_queue_finishes_others_begin_nothing(running: Running) -> None:
    await begin(running, ECHO)
    reset = await begin_at_driver(running, running.driver.reset())

    assert [queue.queue for queue in running.device.queues] == [None, None, None]
    running.device.gate.set()
    await reset


async def test_reset_then_start_in_one_go_keeps_order(running: Running) -> None:
    await begin(running, ECHO)
    start = await begin_at_driver(running, running.driver.start())
    running.device.gate.set()
    await start

    buffer = await running.driver.queues[ECHO].request([b"new"], [3])

    assert buffer.answer == b"new"


async def test_machine_reset_behind_posted_activation_leaves_device_inactive(
    bench: DeviceBench, model: Running
) -> None:
    await model.driver.negotiate()
    bus, status = bench.bus, model.driver.registers.base + Register.STATUS
    bus.run_blocking(lambda: bus.write_now(status, 4, 0x0F))

    await bench.reset()
    await asyncio.sleep(0)

    assert model.device.state is State.INACTIVE
    assert await model.driver.status() == 0


async def test_reset_not_waited_for_failure_of_the_former_life_is_forgotten(
    bench: DeviceBench, running: Running
) -> None:
    running.device.gate.clear()
    running.driver.queues[ECHO].add([FORBIDDEN], [4])
    await running.driver.queues[ECHO].kick()
    await until(lambda: running.device.begun == [FORBIDDEN])
    bus, status = bench.bus, running.driver.registers.base + Register.STATUS
    await bus.run(lambda: bus.write_now(status, 4, 0))
    await bus.run(lambda: bus.write_now(status, 4, 1))

    running.device.gate.set()

    assert await running.driver.status() == Status.ACKNOWLEDGE


async def test_unrealize_with_requests_in_flight_finishes_them(running: Running) -> None:
    await begin(running, CANCELLED)

    await running.device.unrealize()

    assert running.device.cancelled == [b"\0"]


# ---- buffer queues


async def test_buffer_queue_popped_before_reset_is_not_given_back_after_it(running: Running) -> None:
    queue = running.driver.queues[INPUT]
    queue.add([], [4])
    queue.publish()
    chain = running.device.inputq.pop()
    assert chain is not None
    await running.driver.start()

    running.device.inputq.give_back(chain)

    assert running.driver.queues[INPUT].used_index == 0


async def test_buffer_queue_given_back_twice_counts_once(running: Running) -> None:
    queue = running.driver.queues[INPUT]
    queue.add([], [4])
    queue.publish()
    chain = running.device.inputq.pop()
    assert chain is not None

    running.device.inputq.give_back(chain)
    running.device.inputq.give_back(chain)

    assert queue.used_index == 1


async def test_buffer_queue_found_empty_by_available_is_told_of_new_buffers(running: Running) -> None:
    available = asyncio.Event()
    running.device.inputq.on_available = available.set
    queue = running.driver.queues[INPUT]
    queue.add([], [4])
    await queue.kick(always=True)
    await available.wait()
    chain = running.device.inputq.pop()
    assert chain is not None
    running.device.inputq.give_back(chain)
    queue.collect()

    available.clear()
    assert running.device.inputq.available == 0
    queue.add([], [4])
    await queue.kick()

    async with asyncio.timeout(5):
        await available.wait()


async def test_buffer_queue_get_waits_for_a_buffer(running: Running) -> None:
    waiting = asyncio.ensure_future(running.device.inputq.get())
    await asyncio.sleep(0)
    running.driver.queues[INPUT].add([], [4])
    await running.driver.queues[INPUT].kick()

    chain = await waiting

    assert chain.capacity == 4


async def test_buffer_queue_bad_chain_needs_reset(running: Running) -> None:
    running.driver.queues[INPUT].offer(99)

    assert running.device.inputq.pop() is None
    assert await running.driver.status() & Status.NEEDS_RESET


async def test_buffer_queue_bad_index_found_by_available_needs_reset(running: Running) -> None:
    running.driver.queues[INPUT].set_available_index(1000)

    assert running.device.inputq.available == 0
    assert await running.driver.status() & Status.NEEDS_RESET


# ---- NEEDS_RESET


async def test_guest_error_in_handler_reported_once_with_config_interrupt(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    await provoke(running, FORBIDDEN)
    running.driver.queues[ECHO].add([FORBIDDEN], [4])
    await running.driver.queues[ECHO].kick(always=True)
    await running.driver.status()

    assert [record.getMessage() for record in caplog.records] == [
        "guest error: a request that is forbidden; the device needs a reset"
    ]
    assert (running.driver.config_changes, caplog.records[0].levelno) == (1, logging.WARNING)


async def test_guest_error_in_ring_needs_reset(running: Running) -> None:
    queue = running.driver.queues[ECHO]
    queue.offer(99)
    await running.driver.registers.write32(0x050, ECHO)

    await running.driver.wait_needs_reset()


async def test_needs_reset_serves_no_queue_any_more(running: Running) -> None:
    await provoke(running, FORBIDDEN)

    queue = running.driver.queues[CANCELLED]
    queue.add([b"more"], [4])
    await queue.kick(always=True)
    await running.driver.status()
    await asyncio.sleep(0)

    assert running.device.begun == [FORBIDDEN]


async def test_needs_reset_rest_of_batch_is_not_begun(running: Running) -> None:
    queue = running.driver.queues[ECHO]
    for data in (b"good", FORBIDDEN, b"late"):
        queue.add([data], [4], indirect=True)
    await queue.kick()

    await running.driver.wait_needs_reset()

    assert (running.device.begun, queue.used_index) == ([b"good", FORBIDDEN], 1)


async def test_needs_reset_cleared_by_reset_and_device_usable_again(running: Running) -> None:
    await provoke(running, FORBIDDEN)

    await running.driver.start()

    assert (await running.driver.queues[ECHO].request([b"ok"], [2])).answer == b"ok"
    assert not await running.driver.status() & Status.NEEDS_RESET


async def test_needs_reset_again_after_reset_reported_again(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    await provoke(running, FORBIDDEN)
    await running.driver.start()
    await provoke(running, FORBIDDEN)

    assert len(caplog.records) == 2


async def test_bug_in_handler_goes_to_exception_handler_and_needs_reset(running: Running) -> None:
    contexts: list[dict[str, Any]] = []
    running.device.context.loop.set_exception_handler(lambda loop, context: contexts.append(context))

    await provoke(running, BUG)

    assert [type(context["exception"]) for context in contexts] == [ZeroDivisionError]


async def test_handler_that_cancels_itself_needs_reset(running: Running) -> None:
    running.device.context.loop.set_exception_handler(lambda loop, context: None)
    await begin(running, ECHO)
    for coroutine in list(running.device.queues[ECHO]._in_flight):  # type: ignore[attr-defined]
        coroutine.cancel()

    await running.driver.wait_needs_reset()


# ---- class declarations


def test_handler_not_async_refused_at_class_definition() -> None:
    def requestq(device: object, request: object) -> None: ...

    with pytest.raises(TypeError, match="the handler of a virtqueue is an async function"):
        virtqueue(size=8)(requestq)  # type: ignore[arg-type]


def test_subclass_that_declares_a_queue_again_replaces_it_in_place() -> None:
    class Better(Model):
        @virtqueue(size=2)
        async def echoq(self, request: Chain) -> None: ...

    assert [(each.name, each.size) for each in Better.queue_declarations] == [
        ("inputq", 4), ("echoq", 2), ("cancelledq", 8),
    ]  # fmt: skip
