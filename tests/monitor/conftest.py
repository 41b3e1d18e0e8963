# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine that stands still, with monitors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from asyncemu.config.load import check
from asyncemu.loop import AioContext
from asyncemu.machine import Machine
from asyncemu.monitor import command
from asyncemu.monitor.command import Command
from asyncemu.monitor.commands import COMMANDS
from asyncemu.monitor.control import Control
from asyncemu.monitor.monitors import Monitors
from tests.monitor.qmp.client import RawClient

Serve = Callable[..., Awaitable[Machine]]
Connect = Callable[..., Awaitable[RawClient]]


@pytest.fixture
async def undo() -> AsyncIterator[AsyncExitStack]:
    """What is to be closed, the last first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def serve(context: AioContext, tmp_path: Path, undo: AsyncExitStack) -> Serve:
    """Build a machine; ``tables`` besides [machine], or one QMP monitor at qmp.sock."""

    async def build(tables: dict[str, Any] | None = None) -> Machine:
        tables = tables or {"qmp": {"listen": "unix:qmp.sock"}}
        config = check({"machine": {"memory": "8M", "paused": True}, **tables}, tmp_path)
        machine = config.make_machine(context)
        undo.push_async_callback(machine.close)
        await machine.build()
        monitors = Monitors(Control(machine), config.monitors)
        undo.push_async_callback(monitors.close)
        await monitors.open()
        machine.start()
        return machine

    return build


@pytest.fixture
def connect(tmp_path: Path, undo: AsyncExitStack) -> Connect:
    """A client at qmp.sock, or another one."""

    async def make(name: str = "qmp.sock", enable: str | None = "") -> RawClient:
        client = await RawClient.connect(tmp_path / name, enable=enable)
        undo.push_async_callback(client.close)
        return client

    return make


class AddCommand(Protocol):
    """Make a function a command, for one test."""

    def __call__(self, name: str, function: Callable[..., Awaitable[Any]], *, allow_oob: bool = False) -> None: ...


@pytest.fixture
def add_command(monkeypatch: pytest.MonkeyPatch) -> AddCommand:
    """Commands that do what no good command does."""

    def add(name: str, function: Callable[..., Awaitable[Any]], *, allow_oob: bool = False) -> None:
        monkeypatch.setitem(COMMANDS, name, function.__module__)
        monkeypatch.setitem(command._registered, name, Command(name, function, allow_oob))

    return add
