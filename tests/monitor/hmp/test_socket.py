# SPDX-License-Identifier: GPL-2.0-or-later
"""A human monitor of vm.toml on a socket, and its clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from asyncemu.config.load import check
from asyncemu.loop import AioContext
from asyncemu.monitor.control import Control
from asyncemu.monitor.monitors import Monitors

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

PROMPT = b"(qemu) "


@pytest.fixture
async def connect(context: AioContext, tmp_path: Path) -> AsyncIterator[Connect]:
    """Connects to the monitor of a paused machine."""
    tables = {
        "machine": {"memory": "16MiB", "paused": True},
        "chardev": [{"id": "mon", "backend": "socket", "path": "mon.sock", "server": True, "wait": False}],
        "monitor": [{"chardev": "mon", "mode": "readline"}],
    }
    async with AsyncExitStack() as undo:
        config = check(tables, tmp_path)
        machine = config.make_machine(context)
        undo.push_async_callback(machine.close)
        await machine.build()
        monitors = Monitors(Control(machine), config.monitors)
        undo.push_async_callback(monitors.close)
        await monitors.open()
        machine.start()

        async def make() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            reader, writer = await asyncio.open_unix_connection(tmp_path / "mon.sock")
            undo.callback(writer.close)
            return reader, writer

        yield make


async def test_each_client_is_greeted_and_answered(connect: Connect) -> None:
    answers = []
    for _ in range(2):
        reader, writer = await connect()
        greeting = await reader.readuntil(PROMPT)
        writer.write(b"info status\n")
        answers.append((greeting, await reader.readuntil(PROMPT)))
        writer.close()
        await writer.wait_closed()

    assert answers[0] == answers[1]
    assert b"monitor - type 'help'" in answers[0][0]
    assert answers[0][1] == b"info status\r\nVM status: paused (prelaunch)\r\n(qemu) "
