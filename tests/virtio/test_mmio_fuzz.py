# SPDX-License-Identifier: GPL-2.0-or-later
"""Any sequence of accesses to the transport leaves it such that a proper driver can start the device."""

from __future__ import annotations

import asyncio
import logging

import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.options import Options
from asyncemu.testing import DeviceBench
from tests.virtio.models import ECHO, Model

registers = st.one_of(st.integers(0, 0x1FF), st.integers(0, 0x40).map(lambda number: 4 * number))
values = st.one_of(
    st.integers(0, 15),
    st.sampled_from([0x8000_0000, 0x8000_1000, 0xFFFFFFFF, 0x4F, 0x0F]),
    st.integers(0, (1 << 64) - 1),
)
accesses = st.tuples(registers, st.sampled_from([1, 2, 4, 4, 4, 8]), st.one_of(st.none(), values))

#: A start that may be cut short or interleaved: what random accesses alone would seldom do.
DRIVER_OK = [
    (0x070, 4, 3), (0x024, 4, 1), (0x020, 4, 1), (0x070, 4, 11), (0x030, 4, ECHO), (0x038, 4, 8),
    (0x080, 4, 0x8000_0000), (0x090, 4, 0x8000_1000), (0x0A0, 4, 0x8000_2000), (0x044, 4, 1), (0x070, 4, 15),
]  # fmt: skip


async def drive(sequence: list[tuple[int, int, int | None]], ram: bytes) -> None:
    async with DeviceBench() as bench:
        _, driver = await bench.add_virtio(Model, Options())
        bench.memory.write(0x8000_0000, ram)
        bus, base = bench.bus, driver.registers.base

        def access_all() -> None:
            for offset, size, value in sequence:
                if value is None:
                    assert 0 <= bus.read_now(base + offset, size) < 1 << 8 * size
                else:
                    bus.write_now(base + offset, size, value & (1 << 8 * size) - 1)

        await bus.run(access_all)
        await driver.start()
        buffer = await driver.queues[ECHO].request([b"alive"], [5])
        assert buffer.answer == b"alive"


@settings(max_examples=60, deadline=None)
@given(
    st.lists(accesses, max_size=40),
    st.lists(accesses, max_size=40),
    st.integers(0, len(DRIVER_OK)),
    st.binary(max_size=0x40),
)
def test_any_accesses_then_proper_start_works(
    before: list[tuple[int, int, int | None]], after: list[tuple[int, int, int | None]], steps: int, ram: bytes
) -> None:
    logging.getLogger("asyncemu").setLevel(logging.CRITICAL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(drive([*before, *DRIVER_OK[:steps], *after], ram))
