# SPDX-License-Identifier: GPL-2.0-or-later
"""The MMIO transport's registers: virtio 1.2, 4.2.2, and the initialization of 3.1."""

from __future__ import annotations

import pytest

from asyncemu.testing import DeviceBench, FeaturesRefused
from asyncemu.virtio.defs import F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1, Status
from asyncemu.virtio.mmio_registers import CONFIG, VENDOR, Register
from tests.virtio.conftest import Running
from tests.virtio.models import CANCELLED, ECHO, F_ODD

OFFERED = F_VERSION_1 | F_EVENT_IDX | F_INDIRECT_DESC | F_ODD
UP = Status.ACKNOWLEDGE | Status.DRIVER | Status.FEATURES_OK | Status.DRIVER_OK


# ---- identity


async def test_probe_device_gives_its_id(model: Running) -> None:
    assert await model.driver.probe() == 42


async def test_probe_empty_slot_gives_id_0(bench: DeviceBench) -> None:
    _, driver = bench.add_slot()

    assert await driver.probe() == 0


async def test_empty_slot_everything_else_reads_as_zero_and_ignores_writes(bench: DeviceBench) -> None:
    _, driver = bench.add_slot()
    for offset in range(Register.DEVICE_FEATURES, 0x200, 4):
        await driver.registers.write32(offset, 0xFFFFFFFF)

    assert {await driver.registers.read32(offset) for offset in range(Register.DEVICE_FEATURES, 0x200, 4)} == {0}


async def test_vendor_is_ours(model: Running) -> None:
    assert await model.driver.registers.read32(Register.VENDOR_ID) == VENDOR


async def test_shared_memory_region_that_does_not_exist_has_all_ones(model: Running) -> None:
    registers = model.driver.registers

    assert [await registers.read32(offset) for offset in range(Register.SHM_LENGTH_LOW, 0xC0, 4)] == [0xFFFFFFFF] * 4


# ---- features


async def test_offered_features_are_type_and_queue_features(model: Running) -> None:
    assert await model.driver.offered_features() == OFFERED


async def test_device_features_beyond_64_bits_are_zero(model: Running) -> None:
    await model.driver.registers.write32(Register.DEVICE_FEATURES_SELECT, 0xFFFFFFFF)

    assert await model.driver.registers.read32(Register.DEVICE_FEATURES) == 0


@pytest.mark.parametrize("features", [0, F_ODD, F_VERSION_1 | 1, F_VERSION_1 | 1 << 63])
async def test_features_ok_without_version_1_or_with_unoffered_bit_refused(model: Running, features: int) -> None:
    await model.driver.add_status(Status.ACKNOWLEDGE | Status.DRIVER)

    with pytest.raises(FeaturesRefused):
        await model.driver.negotiate(features)


async def test_features_ok_refused_can_be_tried_again(model: Running) -> None:
    with pytest.raises(FeaturesRefused):
        await model.driver.negotiate(F_ODD)

    await model.driver.negotiate(F_VERSION_1)

    assert await model.driver.status() & Status.FEATURES_OK


async def test_driver_features_after_features_ok_ignored(model: Running) -> None:
    await model.driver.start(F_VERSION_1)
    await model.driver.registers.write32(Register.DRIVER_FEATURES_SELECT, 0)
    await model.driver.registers.write32(Register.DRIVER_FEATURES, F_ODD)

    assert (model.device.negotiated, model.device.has(F_ODD)) == (F_VERSION_1, False)


async def test_negotiated_features_reach_device(running: Running) -> None:
    assert (running.device.negotiated, running.device.has(F_ODD)) == (OFFERED, True)


# ---- status


async def test_start_reads_back_all_bits(running: Running) -> None:
    assert await running.driver.status() == UP
    assert running.device.activations == 1


async def test_driver_ok_without_features_ok_refused(model: Running) -> None:
    await model.driver.add_status(Status.ACKNOWLEDGE | Status.DRIVER | Status.DRIVER_OK)

    assert await model.driver.status() == Status.ACKNOWLEDGE | Status.DRIVER
    assert model.device.activations == 0


async def test_status_driver_can_neither_clear_bits_nor_set_needs_reset(running: Running) -> None:
    await running.driver.registers.write32(Register.STATUS, Status.ACKNOWLEDGE | Status.NEEDS_RESET)

    assert await running.driver.status() == UP


async def test_driver_ok_twice_activates_once(running: Running) -> None:
    await running.driver.add_status(Status.DRIVER_OK)
    await running.driver.status()

    assert running.device.activations == 1


async def test_status_read_waits_for_activation(model: Running) -> None:
    registers, driver = model.driver.registers, model.driver
    await driver.negotiate()

    def start_and_look() -> int:
        driver.registers.bus.write_now(registers.base + Register.STATUS, 4, UP)
        driver.registers.bus.read_now(registers.base + Register.STATUS, 4)
        return model.device.activations

    assert await registers.bus.run(start_and_look) == 1


async def test_reset_forgets_everything(running: Running) -> None:
    await running.driver.reset()

    registers = running.driver.registers
    await registers.write32(Register.QUEUE_SELECT, ECHO)
    assert await registers.read32(Register.QUEUE_READY) == 0
    assert await registers.read32(Register.INTERRUPT_STATUS) == 0
    assert running.device.negotiated == 0


async def test_reset_and_start_again_works(running: Running) -> None:
    for _ in range(3):
        await running.driver.start()
        buffer = await running.driver.queues[ECHO].request([b"again"], [5])
        assert buffer.answer == b"again"


# ---- queues


async def test_queue_size_max_of_declared_queues_and_0_beyond(model: Running) -> None:
    assert [await model.driver.max_queue_size(index) for index in range(4)] == [4, 8, 8, 0]


@pytest.mark.parametrize("index", [3, 0xFFFFFFFF])
async def test_queue_registers_of_queue_that_does_not_exist_ignored(model: Running, index: int) -> None:
    await model.driver.write_queue(index, 8, 0, 0, 0)

    assert await model.driver.registers.read32(Register.QUEUE_READY) == 0


async def test_queue_registers_of_ready_queue_ignored(model: Running) -> None:
    driver = model.driver
    await driver.negotiate()
    queue = await driver.set_up_queue(ECHO)
    await driver.write_queue(ECHO, 3, 1, 1, 1)
    await driver.add_status(UP)

    assert (await queue.request([b"x"], [1])).answer == b"x"


async def test_queue_not_set_up_is_not_served(model: Running) -> None:
    driver = model.driver
    await driver.negotiate()
    queue = await driver.set_up_queue(CANCELLED)
    await driver.add_status(UP)
    await driver.registers.write32(Register.QUEUE_NOTIFY, ECHO)

    assert (await queue.request([b"x"], [1])).answer == b"x"


async def test_queue_made_ready_after_driver_ok_is_served(model: Running) -> None:
    driver = model.driver
    await driver.negotiate()
    await driver.add_status(UP)
    queue = await driver.set_up_queue(ECHO)

    assert (await queue.request([b"late"], [4])).answer == b"late"


async def test_queue_taken_back_is_served_no_more(running: Running) -> None:
    registers, queue = running.driver.registers, running.driver.queues[ECHO]
    await registers.write32(Register.QUEUE_SELECT, ECHO)
    await registers.write32(Register.QUEUE_READY, 0)
    assert await registers.read32(Register.QUEUE_READY) == 0
    queue.add([b"x"], [1])

    await queue.kick(always=True)
    await running.driver.queues[CANCELLED].request([b"y"], [1])

    assert running.device.begun == [b"y"]


@pytest.mark.parametrize("size", [0, 3, 16, 0x8000, 0xFFFFFFFF])
async def test_queue_bad_size_needs_reset(model: Running, size: int) -> None:
    driver = model.driver
    await driver.negotiate()
    await driver.write_queue(ECHO, size, 0x8000_0000, 0x8000_1000, 0x8000_2000)
    await driver.add_status(UP)

    await driver.wait_needs_reset()


@pytest.mark.parametrize("areas", [(0, 0, 0), (0x8000_0001, 0x8000_1000, 0x8000_2000), (1 << 63, 1 << 63, 1 << 63)])
async def test_queue_bad_areas_need_reset(model: Running, areas: tuple[int, int, int]) -> None:
    driver = model.driver
    await driver.negotiate()
    await driver.write_queue(ECHO, 8, *areas)
    await driver.add_status(UP)

    await driver.wait_needs_reset()


# ---- notification


async def test_notify_before_driver_ok_ignored(model: Running) -> None:
    driver = model.driver
    await driver.negotiate()
    queue = await driver.set_up_queue(ECHO)
    queue.add([b"early"], [5])
    await queue.kick(always=True)
    await driver.status()

    assert model.device.begun == []


async def test_available_before_driver_ok_is_served_after_it(model: Running) -> None:
    driver = model.driver
    await driver.negotiate()
    queue = await driver.set_up_queue(ECHO)
    buffer = queue.add([b"early"], [5])
    queue.publish()

    await driver.add_status(UP)
    await queue.done(buffer)

    assert buffer.answer == b"early"


@pytest.mark.parametrize("value", [3, 0xFFFFFFFF])
async def test_notify_of_queue_that_does_not_exist_ignored(running: Running, value: int) -> None:
    await running.driver.registers.write32(Register.QUEUE_NOTIFY, value)

    assert await running.driver.status() == UP


# ---- interrupts


async def test_interrupt_says_queue_and_stays_until_acknowledged(running: Running) -> None:
    queue, registers = running.driver.queues[ECHO], running.driver.registers
    queue.add([b"x"], [1])
    await queue.kick()
    await registers.irq.wait()

    before = await registers.read32(Register.INTERRUPT_STATUS)
    await registers.write32(Register.INTERRUPT_ACK, 2)
    still = registers.irq.level
    await registers.write32(Register.INTERRUPT_ACK, 1)

    assert (before, still, registers.irq.level) == (1, True, False)


async def test_interrupt_before_driver_ok_does_not_come(model: Running) -> None:
    model.device.transport.interrupt_queue(ECHO)

    assert await model.driver.registers.read32(Register.INTERRUPT_STATUS) == 0
    assert not model.driver.irq.level


async def test_interrupt_batch_of_requests_one_interrupt(running: Running) -> None:
    queue = running.driver.queues[ECHO]
    buffers = [queue.add([b"x"], [1], indirect=True) for _ in range(8)]

    await queue.kick()
    await queue.done(*buffers)

    assert running.driver.irq.raised == 1


async def test_interrupt_not_wanted_does_not_come(model: Running) -> None:
    await model.driver.start(F_VERSION_1)
    first, second = model.driver.queues[ECHO], model.driver.queues[CANCELLED]
    first.set_interrupts(False)
    first.add([b"x"], [1])
    await first.kick()

    await second.request([b"y"], [1])

    assert (model.driver.irq.raised, model.device.begun) == (1, [b"x", b"y"])


# ---- configuration space


async def test_config_read_in_any_width(model: Running) -> None:
    model.device.config.number = 0x04030201
    model.device.config.low, model.device.config.high = 5, 6
    model.device.config_changed()
    read = model.driver.registers.read

    assert [await read(CONFIG + offset, size) for offset, size in ((0, 1), (2, 2), (0, 4), (4, 1), (5, 1))] == [
        0x01, 0x0403, 0x04030201, 5, 6,
    ]  # fmt: skip


@pytest.mark.parametrize(("offset", "size", "value"), [(4, 4, 0x0605), (0, 8, 0x060500000000), (6, 1, 0), (0xFF, 1, 0)])
async def test_config_read_past_the_end_is_zero_there(model: Running, offset: int, size: int, value: int) -> None:
    model.device.config.low, model.device.config.high = 5, 6
    model.device.config_changed()

    assert await model.driver.registers.read(CONFIG + offset, size) == value


async def test_config_changed_new_generation_and_interrupt(running: Running) -> None:
    before = await running.driver.registers.read32(Register.CONFIG_GENERATION)
    running.device.config.number = 9
    running.device.config_changed()

    await running.driver.interrupts_until(lambda: running.driver.config_changes == 1)

    assert await running.driver.registers.read32(Register.CONFIG_GENERATION) != before
    assert await running.driver.read_config(0, 4) == b"\x09\0\0\0"


async def test_config_changed_before_driver_ok_no_interrupt(model: Running) -> None:
    model.device.config_changed()

    assert not model.driver.irq.level


async def test_config_write_is_seen_by_next_read(model: Running) -> None:
    await model.driver.write_config(4, b"\x77")

    assert await model.driver.read_config(0, 6) == b"\0\0\0\0\x77\0"


async def test_config_write_past_the_end_ignored(model: Running) -> None:
    await model.driver.write_config(4, b"\1\2\3\4")
    await model.driver.write_config(6, b"\1")
    await model.driver.status()

    assert model.device.config_writes == []


async def test_registers_other_than_32_bit_access_ignored(model: Running) -> None:
    registers = model.driver.registers
    await registers.write8(Register.STATUS, 1)

    assert [await registers.read(Register.STATUS, size) for size in (1, 2, 4, 8)] == [0, 0, 0, 0]
    assert await registers.read8(Register.MAGIC) == 0
