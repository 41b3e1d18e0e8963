# SPDX-License-Identifier: GPL-2.0-or-later
"""VmConfig makes machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncemu.config.load import check
from asyncemu.loop import AioContext
from asyncemu.machine import RunState


@pytest.mark.parametrize(("paused", "state"), [(True, RunState.PRELAUNCH), (False, RunState.RUNNING)])
async def test_machine_without_kernel_starts_in_the_state_asked_for(
    paused: bool, state: RunState, context: AioContext
) -> None:
    machine = check({"machine": {"memory": "8M", "paused": paused}}, Path()).make_machine(context)

    await machine.build()
    machine.start()
    reached = machine.state
    await machine.close()

    assert reached is state


async def test_machine_paused_goes_on_when_resumed(context: AioContext) -> None:
    machine = check({"machine": {"memory": "8M", "paused": True}}, Path()).make_machine(context)

    await machine.build()
    machine.start()
    machine.resume()
    reached = machine.state
    await machine.close()

    assert reached is RunState.RUNNING
