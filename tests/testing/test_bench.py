# SPDX-License-Identifier: GPL-2.0-or-later
"""The bench itself: bus, interrupt wire, platform, and that it leaves nothing behind."""

from __future__ import annotations

import threading

import pytest

from asyncemu.loop import current_context
from asyncemu.loop.markers import in_vcpu_thread
from asyncemu.options import Options
from asyncemu.testing import DeviceBench, IrqRecorder, until
from asyncemu.testing.bench import RAM_BASE
from asyncemu.virtio.rng import VirtioRng


async def test_bus_accesses_run_on_a_vcpu_thread(bench: DeviceBench) -> None:
    assert await bench.bus.run(in_vcpu_thread)
    assert await bench.bus.run(threading.get_ident) != threading.get_ident()


async def test_bus_reaches_ram(bench: DeviceBench) -> None:
    await bench.bus.write32(RAM_BASE + 8, 0x11223344)

    assert await bench.bus.read(RAM_BASE + 9, 2) == 0x2233


async def test_bus_where_nothing_is_refused(bench: DeviceBench) -> None:
    with pytest.raises(LookupError, match="nothing is at 0x10"):
        await bench.bus.read32(0x10)


async def test_irq_counts_rising_edges(bench: DeviceBench) -> None:
    irq = IrqRecorder(bench.context)
    for level in (True, True, False, False, True):
        irq.line.set(level)

    assert (irq.level, irq.raised) == (True, 2)


async def test_irq_wait_returns_when_another_thread_raises_it(bench: DeviceBench) -> None:
    irq = IrqRecorder(bench.context)
    raising = threading.Thread(target=irq.line.set, args=(True,))
    raising.start()

    await irq.wait()
    raising.join()

    assert irq.level


async def test_bench_without_context_makes_one_and_takes_it_away() -> None:
    async with DeviceBench() as bench:
        _, driver = await bench.add_virtio(VirtioRng, Options())
        await driver.start()
        assert (await driver.queues[0].request([], [8])).written == 8
        assert current_context() is bench.context

    assert current_context() is None


async def test_until_returns_when_condition_holds() -> None:
    turns = iter([False, False, True])

    await until(lambda: next(turns))

    assert list(turns) == []
