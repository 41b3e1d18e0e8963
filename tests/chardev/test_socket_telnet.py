# SPDX-License-Identifier: GPL-2.0-or-later
"""telnet over a socket; its peers: the telnet program on a terminal, socat, and Python's sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.chardev import WRITE_BUFFER
from asyncemu.chardev.socket import Socket
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import GUARD, Recorder, read_exactly, read_until

GREETING = bytes.fromhex("fffb01fffb03fffb00fffd00")


@pytest.fixture
def path() -> Iterator[Path]:
    """A name that fits sun_path, which tmp_path may not."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "s"


async def telnet_server(make_chardev: MakeChardev, recorder: Recorder, path: Path) -> Socket:
    chardev: Socket = make_chardev("socket", path=str(path), server=True, wait=False, telnet=True)
    chardev.attach(recorder)
    await chardev.open()
    return chardev


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    client.settimeout(GUARD)
    return client


async def test_client_is_greeted_first(make_chardev: MakeChardev, path: Path) -> None:
    recorder = Recorder()
    chardev = await telnet_server(make_chardev, recorder, path)

    with connect(path) as client:
        await recorder.until_event(ChardevEvent.OPENED)
        chardev.write(b"hello")

        assert await read_exactly(client.fileno(), len(GREETING) + 5) == GREETING + b"hello"


async def test_client_options_and_break_reach_nobody_as_data(make_chardev: MakeChardev, path: Path) -> None:
    recorder = Recorder()
    await telnet_server(make_chardev, recorder, path)

    with connect(path) as client:
        client.sendall(b"a\xff\xfd\x03b\xff\xf3c")
        await recorder.until_received(b"abc")

    assert recorder.events[:2] == [ChardevEvent.OPENED, ChardevEvent.BREAK]


async def test_client_is_refused_what_it_proposes(make_chardev: MakeChardev, path: Path) -> None:
    await telnet_server(make_chardev, Recorder(), path)

    with connect(path) as client:
        client.sendall(b"\xff\xfb\x1f")  # WILL NAWS

        assert await read_exactly(client.fileno(), len(GREETING) + 3) == GREETING + b"\xff\xfe\x1f"


async def test_output_that_grows_loses_nothing_to_a_slow_client(make_chardev: MakeChardev, path: Path) -> None:
    recorder = Recorder()
    chardev = await telnet_server(make_chardev, recorder, path)
    with connect(path) as client:
        await recorder.until_event(ChardevEvent.OPENED)
        taken = 0
        while (piece := chardev.write(b"\xff" * 100_000)) == 100_000:  # twice as much on the wire
            taken += piece
        taken += piece
        held = chardev.unsent

        received = await read_exactly(client.fileno(), len(GREETING) + 2 * taken)

    assert 0 < held <= WRITE_BUFFER
    assert received == GREETING + b"\xff" * 2 * taken


async def test_output_unsent_when_client_leaves_is_not_the_next_ones(make_chardev: MakeChardev, path: Path) -> None:
    recorder = Recorder()
    chardev = await telnet_server(make_chardev, recorder, path)
    with connect(path):
        await recorder.until_event(ChardevEvent.OPENED)
        while chardev.write(bytes(100_000)) == 100_000:
            pass
    await recorder.until_event(ChardevEvent.CLOSED)

    with connect(path) as client:
        await recorder.until_event(ChardevEvent.OPENED, 2)
        chardev.write(b"hello")

        assert await read_exactly(client.fileno(), len(GREETING) + 5) == GREETING + b"hello"


async def test_socat_types_and_reads(make_chardev: MakeChardev, path: Path) -> None:
    recorder = Recorder()
    chardev = await telnet_server(make_chardev, recorder, path)
    program = await asyncio.create_subprocess_exec(
        "socat", "-", f"UNIX-CONNECT:{path}", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdin is not None
    assert program.stdout is not None

    program.stdin.write(b"who\n")
    await recorder.until_received(b"who\n")
    chardev.write(b"root\r\n")
    async with asyncio.timeout(GUARD):
        shown = await program.stdout.readexactly(len(GREETING) + 6)
    program.stdin.close()
    await program.wait()

    assert shown == GREETING + b"root\r\n"


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Ours, and the program's."""
    ours, its = os.openpty()
    yield ours, its
    os.close(ours)
    os.close(its)


async def test_telnet_program_types_reads_and_breaks(make_chardev: MakeChardev, terminal: tuple[int, int]) -> None:
    ours, its = terminal
    recorder = Recorder()
    chardev = make_chardev("socket", host="127.0.0.1", port=0, server=True, wait=False, telnet=True)
    chardev.attach(recorder)
    await chardev.open()
    program = await asyncio.create_subprocess_exec(
        "telnet", *chardev.address.split(":"), stdin=its, stdout=its, stderr=its
    )
    await read_until(ours, b"Escape character is '^]'.\r\n")
    await recorder.until_event(ChardevEvent.OPENED)

    # It echoes what it sends of negotiations to nobody, and passes each key on: we echo, and bytes are bytes.
    chardev.write(b"\xfflogin: ")
    shown = await read_until(ours, b"login: ")
    os.write(ours, b"\x03r")
    await recorder.until_received(b"\x03r")
    os.write(ours, b"\x1d")
    await read_until(ours, b"telnet> ")
    os.write(ours, b"send brk\n")
    await recorder.until_event(ChardevEvent.BREAK)
    program.kill()
    await program.wait()

    assert shown.endswith(b"\xfflogin: ")
    assert recorder.received == b"\x03r"


async def test_filename_says_telnet(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("socket", host="127.0.0.1", port=0, server=True, wait=False, telnet=True)
    await chardev.open()

    assert chardev.filename == f"disconnected:telnet:{chardev.address},server=on"
