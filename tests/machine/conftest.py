# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from asyncemu.config.load import check
from asyncemu.loop import AioContext
from asyncemu.machine import Machine
from tests.vcpu.bench import assemble

Make = Callable[..., Machine]


@pytest.fixture
async def make(context: AioContext, tmp_path: Path) -> AsyncIterator[Make]:
    """``make(source, **tables)``: a machine whose kernel is that assembly, not built yet; closed after the test."""
    machines: list[Machine] = []

    def make_machine(source: str = "", **tables: Any) -> Machine:
        options = {"memory": "16MiB", **tables.pop("machine", {})}
        if source:
            kernel = tmp_path / "kernel.bin"
            kernel.write_bytes(assemble(source))
            options["kernel"] = str(kernel)
        machine = check({"machine": options, **tables}, tmp_path).make_machine(context)
        machines.append(machine)
        return machine

    yield make_machine
    for machine in machines:
        await machine.close()
