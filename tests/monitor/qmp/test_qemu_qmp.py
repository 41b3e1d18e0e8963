# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that we did not write: the library qemu.qmp, and its qmp-shell with a script."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from qemu.qmp import ExecuteError, QMPClient
from qemu.qmp.events import EventListener

from tests.monitor.conftest import AddCommand, Serve
from tests.monitor.qmp.test_monitor import Gate, now


async def connected(path: Path, undo: AsyncExitStack) -> QMPClient:
    client = QMPClient("test")
    await client.connect(str(path))
    undo.push_async_callback(client.disconnect)
    return client


async def test_client_commands_fail_and_succeed(serve: Serve, tmp_path: Path, undo: AsyncExitStack) -> None:
    await serve()
    client = await connected(tmp_path / "qmp.sock", undo)

    name = await client.execute("query-name")
    with pytest.raises(ExecuteError) as caught:
        await client.execute("nope", {"x": [1, None, "\u00e9"]})

    assert (name, caught.value.error_class) == ({}, "CommandNotFound")


async def test_client_hears_events(serve: Serve, tmp_path: Path, undo: AsyncExitStack) -> None:
    await serve()
    client = await connected(tmp_path / "qmp.sock", undo)
    listener = EventListener(["STOP", "RESUME"])

    with client.listen(listener):
        await client.execute("cont")
        await client.execute("stop")
        heard = [(await listener.get())["event"] for _ in range(2)]

    assert heard == ["RESUME", "STOP"]


async def test_client_executes_out_of_band_while_a_command_runs(
    serve: Serve, tmp_path: Path, undo: AsyncExitStack, add_command: AddCommand
) -> None:
    gate = Gate()
    add_command("wait", gate.wait)
    add_command("now", now, allow_oob=True)
    await serve()
    client = await connected(tmp_path / "qmp.sock", undo)
    waiting = asyncio.create_task(client.execute("wait"))
    await gate.reached.wait()

    at_once = await client.execute("now", oob=True)
    gate.open.set()

    assert (at_once, await waiting) == ({"at": "once"}, {})


@pytest.mark.slow
async def test_shell_obeys_a_script(serve: Serve, tmp_path: Path) -> None:
    await serve()
    script = b"query-status\ncont\nhuman-monitor-command command-line=help\nnope\nquery-status\n"
    shell = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "qemu.qmp.qmp_shell",
        str(tmp_path / "qmp.sock"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(tmp_path)},
    )

    output, _ = await shell.communicate(script)

    text = output.decode()
    assert "Welcome to the QMP low-level shell!" in text
    assert "Connected to QEMU 7.2.0" in text
    assert '"status": "prelaunch"' in text and '"status": "running"' in text
    assert "system_reset" in text
    assert "The command nope has not been found" in text
