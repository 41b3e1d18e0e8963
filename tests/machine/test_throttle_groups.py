# SPDX-License-Identifier: GPL-2.0-or-later
"""[[throttle-group]] in a machine: its block nodes are held up by it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block.throttle.config import BucketLimit
from asyncemu.config.load import check
from asyncemu.coroutines import start
from asyncemu.loop import AioContext, Clocks
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.fake_clock import FakeClock

TABLES: dict[str, Any] = {
    "machine": {"memory": "8M"},
    "throttle-group": [{"id": "slow", "limits": {"iops-total": 10, "iops-total-max": 20, "iops-size": 4096}}],
    "blockdev": [
        {"node-name": name, "driver": "throttle", "throttle-group": "slow", "file": {"driver": "null-co"}}
        for name in ("one", "two")
    ],
}


async def test_nodes_of_a_machine_share_the_limits_of_their_group(context: AioContext) -> None:
    time = FakeClock()
    machine = check(TABLES, Path()).make_machine(context, Clocks(time))
    await machine.build()
    nodes = [machine.block.nodes[name] for name in ("one", "two")]
    writes = [start(context, nodes[number % 2].pwritev(0, Buffers.of(bytes(512)))) for number in range(23)]
    at_once = sum(write.done() for write in writes)
    for _ in range(2):
        time.advance(100_000_000)
        for _ in range(10):
            await asyncio.sleep(0)
    later = sum(write.done() for write in writes)
    await machine.close()

    assert (at_once, later) == (21, 23)


@pytest.mark.parametrize("qtest", [False, True])
async def test_clock_of_the_groups_is_the_machines(qtest: bool, context: AioContext, tmp_path: Path) -> None:
    options = {"memory": "8M", **({"qtest": f"unix:{tmp_path}/q"} if qtest else {})}
    machine = check({**TABLES, "machine": options}, tmp_path).make_machine(context)
    await machine.build()
    clock = machine.block.throttle_groups.clock
    (group,) = machine.block.throttle_groups
    await machine.close()

    assert clock is (machine.clocks.virtual if qtest else machine.clocks.realtime) is group.clock
    assert dict(group.config.limited()) == {"iops-total": BucketLimit(10, 20)}
