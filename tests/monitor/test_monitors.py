# SPDX-License-Identifier: GPL-2.0-or-later
"""All monitors of a machine: where they live, what can't be had, and how they end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from asyncemu.config.load import check
from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext
from asyncemu.monitor.control import Control
from asyncemu.monitor.monitors import Monitors
from tests.monitor.conftest import AddCommand, Connect, Serve
from tests.monitor.qmp.client import RawClient
from tests.monitor.qmp.test_monitor import Gate


async def test_qmp_lives_in_a_thread_that_is_no_iothread(serve: Serve) -> None:
    machine = await serve()

    assert machine.monitor_iothread is not None
    assert machine.chardevs["compat_monitor0"].context is machine.monitor_iothread.aio_context
    assert machine.iothreads == {}


async def test_qmp_on_a_shared_chardev_lives_with_the_others(serve: Serve) -> None:
    machine = await serve(
        {
            "chardev": [
                {"id": "console", "backend": "socket", "path": "c.sock", "server": True, "wait": False, "mux": True}
            ],
            "monitor": [{"chardev": "console", "mode": "control"}],
        }
    )

    assert machine.monitor_iothread is None
    assert machine.chardevs["console"].context is machine.context


async def test_monitor_on_a_chardev_of_its_own_is_qmp_like_any_other(serve: Serve, connect: Connect) -> None:
    await serve(
        {
            "chardev": [{"id": "m", "backend": "socket", "path": "qmp.sock", "server": True, "wait": False}],
            "monitor": [{"chardev": "m", "mode": "control"}],
        }
    )
    client = await connect()

    assert await client.ask("query-name") == {"return": {}}


async def test_monitor_takes_the_chardev_that_would_be_the_console(serve: Serve) -> None:
    machine = await serve(
        {
            "chardev": [{"id": "console", "backend": "null"}],
            "monitor": [{"chardev": "console", "mode": "control"}],
        }
    )

    assert machine.board.uart.chardev is not machine.chardevs["console"]


async def test_address_that_is_taken_is_told_by_its_place(
    context: AioContext, tmp_path: Path, undo: AsyncExitStack
) -> None:
    machine = check({"machine": {"memory": "8M"}, "qmp": {"listen": "unix:no/such/qmp.sock"}}, tmp_path).make_machine(
        context
    )
    undo.push_async_callback(machine.close)

    with pytest.raises(ConfigError, match=r"^qmp\.listen: .*No such file or directory"):
        await machine.build()


async def test_chardev_that_a_device_has_is_refused(context: AioContext, tmp_path: Path, undo: AsyncExitStack) -> None:
    config = check(
        {
            "machine": {"memory": "8M"},
            "chardev": [{"id": "c", "backend": "null"}],
            "monitor": [{"chardev": "c", "mode": "control"}],
        },
        tmp_path,
    )
    machine = config.make_machine(context)
    undo.push_async_callback(machine.close)
    await machine.build()
    first, second = (Monitors(Control(machine), config.monitors) for _ in range(2))
    undo.push_async_callback(first.close)
    undo.push_async_callback(second.close)
    await first.open()

    with pytest.raises(ConfigError, match=r"^monitor\[0\]\.chardev: .*has a front end already"):
        await second.open()


async def test_close_cancels_a_command_and_hangs_up(
    context: AioContext, tmp_path: Path, undo: AsyncExitStack, add_command: AddCommand
) -> None:
    gate = Gate()
    add_command("wait", gate.wait)
    config = check({"machine": {"memory": "8M"}, "qmp": {"listen": "unix:qmp.sock"}}, tmp_path)
    machine = config.make_machine(context)
    await machine.build()
    monitors = Monitors(Control(machine), config.monitors)
    await monitors.open()
    client = await RawClient.connect(tmp_path / "qmp.sock")
    undo.push_async_callback(client.close)
    client.send(b'{"execute":"wait"}')
    await gate.reached.wait()

    await monitors.close()
    await machine.close()

    assert await client.reader.read() == b""
    assert not (tmp_path / "qmp.sock").exists()


@pytest.mark.slow
def test_machine_without_monitors_imports_none_of_this(tmp_path: Path) -> None:
    vm = tmp_path / "vm.toml"
    vm.write_text('[machine]\nmemory = "8M"\nqtest = "unix:q.sock"\n')
    program = (
        "import sys\nfrom asyncemu.config import load\nfrom pathlib import Path\n"
        f"load(Path({str(vm)!r}))\nfrom asyncemu.cli import run\n"
        "print([name for name in sys.modules if name.startswith('asyncemu.monitor')])"
    )

    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"


@pytest.mark.slow
async def test_program_serves_qmp_until_it_is_told_to_quit(tmp_path: Path) -> None:
    vm = tmp_path / "vm.toml"
    vm.write_text(
        '[machine]\nmemory = "8M"\npaused = true\n[qmp]\nlisten = "unix:qmp.sock"\n'
        '[[chardev]]\nid = "s"\nbackend = "stdio"\n[[monitor]]\nchardev = "s"\nmode = "control"\n'
    )
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "asyncemu", str(vm), stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    try:
        greeting = await process.stdout.readline()
        client = await RawClient.connect(tmp_path / "qmp.sock")
        reply = await client.ask("quit")
        status = await process.wait()
        await client.close()
    finally:
        if process.returncode is None:
            process.kill()

    assert greeting.startswith(b'{"QMP": ')
    assert (reply, status) == ({"return": {}}, 0)


async def test_websocket_wants_the_token(serve: Serve) -> None:
    machine = await serve({"qmp": {"listen": "ws:127.0.0.1:0", "token": "secret"}})
    chardev = machine.chardevs["compat_monitor0"]
    url = f"http://{chardev.address}/"  # type: ignore[attr-defined]  # a socket

    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(url, headers={"Authorization": "Bearer wrong"})
        async with session.ws_connect(url, headers={"Authorization": "Bearer secret"}) as socket:
            greeting = json.loads(await socket.receive_bytes())
            await socket.send_bytes(b'{"execute":"qmp_capabilities"}{"execute":"query-name","id":1}')
            received = b""
            while received.count(b"\n") < 2:
                received += await socket.receive_bytes()

    assert refused.value.status == 401
    assert "QMP" in greeting
    assert [json.loads(line) for line in received.splitlines()] == [{"return": {}}, {"return": {}, "id": 1}]


async def test_tcp_without_a_host_is_on_loopback(serve: Serve) -> None:
    machine = await serve({"qmp": {"listen": "tcp::0"}})
    host, _, port = machine.chardevs["compat_monitor0"].address.rpartition(":")  # type: ignore[attr-defined]

    reader, writer = await asyncio.open_connection(host, int(port))
    greeting = json.loads(await reader.readline())
    writer.close()

    assert (host, "QMP" in greeting) == ("127.0.0.1", True)


async def test_monitor_readline_is_the_human_one(serve: Serve, tmp_path: Path) -> None:
    await serve(
        {
            "chardev": [{"id": "m", "backend": "socket", "path": "hmp.sock", "server": True, "wait": False}],
            "monitor": [{"chardev": "m"}],
        }
    )

    reader, writer = await asyncio.open_unix_connection(tmp_path / "hmp.sock")
    greeting = await reader.readuntil(b"(qemu) ")
    writer.write(b"info status\r")
    answer = await reader.readuntil(b"VM status: paused")
    writer.close()

    assert b"type 'help' for more information" in greeting
    assert b"unknown command" not in answer
