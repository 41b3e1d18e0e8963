# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU at the other end of a socket: its QMP monitor over our chardevs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from asyncemu.chardev import ChardevEvent
from tests.block.nbd.tls_files import make_certificates
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Recorder

Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def qemu() -> AsyncIterator[Start]:
    """``qemu(*arguments)``: one without a CPU that runs."""
    started: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str, **others: Any) -> asyncio.subprocess.Process:
        program = await asyncio.create_subprocess_exec(
            "qemu-system-riscv64", "-M", "none", "-nodefaults", "-display", "none", "-S", *arguments,
            stdin=subprocess.DEVNULL, **others,
        )  # fmt: skip
        started.append(program)
        return program

    yield start
    for program in started:
        if program.returncode is None:
            program.kill()
        await program.wait()


async def reply(recorder: Recorder) -> Any:
    """The next line that QEMU sends."""
    await recorder.until(lambda: b"\n" in recorder.received)
    line, _, recorder.received = recorder.received.partition(b"\n")
    return json.loads(line)


async def test_qemu_as_client_over_tls_talks_to_us(make_chardev: MakeChardev, qemu: Start, tmp_path: Path) -> None:
    make_certificates(tmp_path / "pki")
    recorder = Recorder()
    chardev = make_chardev("socket", host="127.0.0.1", port=0, server=True, wait=False, tls_creds={"dir": "pki"})
    chardev.attach(recorder)
    await chardev.open()
    port = chardev.address.rpartition(":")[2]
    program = await qemu(
        "-object", f"tls-creds-x509,id=tls0,endpoint=client,dir={tmp_path / 'pki'}",
        "-chardev", f"socket,id=qmp,host=localhost,ipv4=on,port={port},tls-creds=tls0",
        "-mon", "chardev=qmp,mode=control",
    )  # fmt: skip

    greeting = await reply(recorder)
    # QEMU 7.2 looks at what its TLS holds when more comes: a line of its own for each.
    for command in (b'{"execute": "qmp_capabilities"}', b"\n"):
        chardev.write(command)
    negotiated = await reply(recorder)
    for command in (b'{"execute": "quit"}', b"\n"):
        chardev.write(command)
    await recorder.until_event(ChardevEvent.CLOSED)
    await program.wait()

    assert greeting["QMP"]["version"]["qemu"]["major"] >= 7
    assert negotiated == {"return": {}}


async def test_qemu_takes_the_descriptor_that_we_send(make_chardev: MakeChardev, qemu: Start, tmp_path: Path) -> None:
    recorder = Recorder()
    path = Path(f"/tmp/asyncemu-{os.getpid()}.qmp")
    listener = make_chardev("socket", path=str(path), server=True, wait=False)
    listener.attach(recorder)
    await listener.open()
    await qemu("-chardev", f"socket,id=qmp,path={path}", "-mon", "chardev=qmp,mode=control")
    await reply(recorder)
    listener.write(b'{"execute": "qmp_capabilities"}\n')
    await reply(recorder)
    reader, writer = os.pipe()

    listener.send_fds([reader])
    listener.write(b'{"execute": "getfd", "arguments": {"fdname": "pipe"}}\n')
    taken = await reply(recorder)
    listener.write(b'{"execute": "getfd", "arguments": {"fdname": "none"}}\n')
    refused = await reply(recorder)
    os.close(reader)
    os.close(writer)

    assert taken == {"return": {}}
    assert "error" in refused
