# SPDX-License-Identifier: GPL-2.0-or-later
"""Machines in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from asyncemu.config.load import check
from asyncemu.loop import AioContext
from asyncemu.machine import Machine
from asyncemu.testing.qtest_client import QtestClient
from tests.vcpu.bench import assemble

Make = Callable[..., Machine]
Serve = Callable[..., Awaitable[tuple[Machine, QtestClient]]]


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


@pytest.fixture
async def serve(make: Make, tmp_path: Path) -> AsyncIterator[Serve]:
    """``serve(**tables)``: a machine that runs, and a client of it."""
    clients: list[QtestClient] = []

    async def started(**tables: Any) -> tuple[Machine, QtestClient]:
        machine = make(machine={"qtest": "unix:qtest.sock", **tables.pop("machine", {})}, **tables)
        await machine.build()
        machine.start()
        clients.append(await QtestClient.connect(tmp_path / "qtest.sock"))
        return machine, clients[-1]

    yield started
    for client in clients:
        client.close()
