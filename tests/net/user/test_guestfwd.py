# SPDX-License-Identifier: GPL-2.0-or-later
"""What is behind an address of the guest's network."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext
from asyncemu.testing import until
from tests.net.user.network import Network, echo, network, server, unused_port

SERVICE = "10.0.2.100"


async def test_command_talks_to_guest_by_its_standard_streams(context: AioContext) -> None:
    async with network(context, guestfwd=[f"tcp:{SERVICE}:7-cmd:cat -u"]) as net:
        stream = await net.client.connect(SERVICE, 7)
        await stream.write(b"meow")
        answer = await stream.read(4)
        stream.close()

        assert (answer, await stream.read()) == (b"meow", b"")


async def test_command_that_is_not_there_is_refused(context: AioContext, caplog: pytest.LogCaptureFixture) -> None:
    async with network(context, guestfwd=[f"tcp:{SERVICE}:7-cmd:/no/such/program"]) as net:
        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(SERVICE, 7)

    assert caplog.messages == ["guestfwd: /no/such/program: No such file or directory"]


async def test_tcp_continues_on_the_host(context: AioContext) -> None:
    async with server(echo) as port, network(context, guestfwd=[f"tcp:{SERVICE}:7-tcp:127.0.0.1:{port}"]) as net:
        stream = await net.client.connect(SERVICE, 7)
        await stream.write(b"hello")

        assert await stream.read(5) == b"hello"


async def test_tcp_where_nobody_listens_is_refused(context: AioContext) -> None:
    async with network(context, guestfwd=[f"tcp:{SERVICE}:7-tcp:127.0.0.1:{unused_port()}"]) as net:
        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(SERVICE, 7)


async def test_unix_socket_continues_on_the_host(context: AioContext, tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await echo(reader, writer)
        writer.close()

    running = await asyncio.start_unix_server(serve, path)
    async with network(context, guestfwd=[f"tcp:{SERVICE}:7-unix:{path}"]) as net:
        stream = await net.client.connect(SERVICE, 7)
        await stream.write(b"hello")
        answer = await stream.read(5)
        stream.close()
        await stream.read()

        assert answer == b"hello"
    running.close()


async def test_unix_socket_that_is_not_there_is_refused(context: AioContext, tmp_path: Path) -> None:
    async with network(context, guestfwd=[f"tcp:{SERVICE}:7-unix:{tmp_path}/none"]) as net:
        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(SERVICE, 7)


GREETER = """
async def greet(reader, writer):
    name = await reader.readline()
    writer.write(b"Hello, " + name)


async def fails(reader, writer):
    await reader.readline()
    raise RuntimeError("a bug")


async def waits(reader, writer):
    await reader.read()


def plain(reader, writer):
    pass
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "greeter.py"
    path.write_text(GREETER)
    return path


async def test_python_function_serves_guest_in_the_emulator(context: AioContext, file: Path) -> None:
    async with network(context, guestfwd=[f"tcp:{SERVICE}:80-python:{file}:greet"]) as net:
        stream = await net.client.connect(SERVICE, 80)
        await stream.write(b"world\n")

        assert await stream.read() == b"Hello, world\n"


async def test_python_function_that_fails_ends_its_connection_only(context: AioContext, file: Path) -> None:
    problems: list[object] = []
    async with network(context, guestfwd=[f"tcp:{SERVICE}:80-python:{file}:fails"]) as net:
        asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem["exception"]))
        stream = await net.client.connect(SERVICE, 80)
        await stream.write(b"\n")
        answer = await stream.read()
        other = await net.client.connect(SERVICE, 80)

        assert (answer, str(problems[0]), other.core.established) == (b"", "a bug", True)


async def test_python_function_is_ended_with_the_network(context: AioContext, file: Path) -> None:
    async with network(context, guestfwd=[f"tcp:{SERVICE}:80-python:{file}:waits"]) as net:
        stream = await net.client.connect(SERVICE, 80)

    assert stream.core.established


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("{file}:missing", "{file} has no async function 'missing'"),
        ("{file}:plain", "{file} has no async function 'plain'"),
        ("{file}x.py:greet", "{file}x.py: no such Python file"),
    ],
)
async def test_python_function_that_is_none_is_an_error_of_one_line(
    context: AioContext, file: Path, target: str, problem: str
) -> None:
    made = Network(context, None, {"guestfwd": [f"tcp:{SERVICE}:80-python:{target.format(file=file)}"]}, {})

    with pytest.raises(ConfigError) as caught:
        await made.netdev.open()

    assert str(caught.value) == "net0.guestfwd[0]: " + problem.format(file=file)


async def test_other_ports_of_its_address_are_refused(context: AioContext) -> None:
    async with network(context, guestfwd=[f"tcp:{SERVICE}:7-cmd:cat"]) as net:
        mac = await net.client.arp(SERVICE)

        with pytest.raises(ConnectionRefusedError):
            await net.client.connect(SERVICE, 8)
        assert mac == net.client.gateway_mac


async def test_no_address_is_the_networks_fourth(context: AioContext) -> None:
    async with network(context, guestfwd=["tcp::7-cmd:cat -u"]) as net:
        stream = await net.client.connect("10.0.2.4", 7)
        await stream.write(b"x")

        assert await stream.read(1) == b"x"


async def test_guest_that_leaves_ends_the_command(context: AioContext) -> None:
    async with network(context, guestfwd=[f"tcp:{SERVICE}:7-cmd:cat"]) as net:
        stream = await net.client.connect(SERVICE, 7)
        stream.abort()

        await until(lambda: net.netdev.programs[0].running == 0)
