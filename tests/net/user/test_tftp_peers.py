# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that others wrote fetch files from our server."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import pytest

from asyncemu.net.packets import tftp
from asyncemu.net.user.tftp import Action, Close, Open, Read, Send, TftpServer

TEXT = b"one\ntwo\rthree\n" * 500
BINARY = bytes(range(256)) * 1000


class Shim(asyncio.DatagramProtocol):
    """The server's I/O, on a socket of the host; loses each ``lose``-th packet of ours."""

    def __init__(self, folder: Path, lose: int) -> None:
        self._folder = folder
        self._lose = lose
        self._sent = 0
        self._files: dict[object, bytes] = {}
        self.server = TftpServer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, client: tuple[str, int]) -> None:
        self._do(self.server.receive(data, client, self._now()))

    def tick(self) -> None:
        self._do(self.server.expire(self._now()))

    @staticmethod
    def _now() -> int:
        # A hundred times as fast, so that nobody waits for what was lost.
        return int(asyncio.get_running_loop().time() * 100e9)

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Send):
                assert isinstance(action.client, tuple)
                self._sent += 1
                if not self._lose or self._sent % self._lose:
                    self._transport.sendto(action.payload, action.client)
            elif isinstance(action, Open):
                path = self._folder / action.name
                if not path.exists():
                    self._do(self.server.refused(action.client, tftp.NOT_FOUND, "File not found"))
                    continue
                self._files[action.client] = path.read_bytes()
                self._do(self.server.opened(action.client, path.stat().st_size, self._now()))
            elif isinstance(action, Read):
                data = self._files[action.client][action.offset : action.offset + action.length]
                self._do(self.server.have(action.client, data, self._now()))
            elif isinstance(action, Close):
                self._files.pop(action.client, None)


@asynccontextmanager
async def serving(folder: Path, lose: int = 0) -> AsyncIterator[int]:
    """A server with two files; yields its port on 127.0.0.1."""
    (folder / "boot").mkdir()
    (folder / "boot/text").write_bytes(TEXT)
    (folder / "binary").write_bytes(BINARY)
    loop = asyncio.get_running_loop()
    transport, shim = await loop.create_datagram_endpoint(lambda: Shim(folder, lose), local_addr=("127.0.0.1", 0))

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.01)
            shim.tick()

    ticking = loop.create_task(tick())
    try:
        yield transport.get_extra_info("sockname")[1]
    finally:
        ticking.cancel()
        transport.close()


async def run(*arguments: str | Path, cwd: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C"},
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    return out.decode()


needs_tftp = pytest.mark.skipif(shutil.which("tftp") is None, reason="tftp-hpa is not installed")
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@needs_tftp
@pytest.mark.parametrize("lose", [0, 40])
async def test_tftp_hpa_gets_the_file_also_when_packets_are_lost(tmp_path: Path, lose: int) -> None:
    async with serving(tmp_path, lose) as port:
        await run("tftp", "-m", "octet", "127.0.0.1", str(port), "-c", "get", "binary", "got", cwd=tmp_path)
    assert (tmp_path / "got").read_bytes() == BINARY


@needs_tftp
async def test_tftp_hpa_gets_text_as_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        await run("tftp", "-m", "ascii", "127.0.0.1", str(port), "-c", "get", "boot/text", "got", cwd=tmp_path)
    assert (tmp_path / "got").read_bytes() == TEXT


@needs_tftp
async def test_tftp_hpa_asks_for_what_is_not_there_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        out = await run("tftp", "127.0.0.1", str(port), "-c", "get", "nothing", "got", cwd=tmp_path)
    assert "Error code 1: File not found" in out


@needs_tftp
async def test_tftp_hpa_writes_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as port:
        out = await run("tftp", "127.0.0.1", str(port), "-c", "put", "binary", "boot/new", cwd=tmp_path)
    assert "Error code 2: Access violation" in out


@needs_curl
@pytest.mark.parametrize("block_size", ["8192", "1024", "512"])
async def test_curl_gets_the_file_with_any_block_size(tmp_path: Path, block_size: str) -> None:
    async with serving(tmp_path) as port:
        url = f"tftp://127.0.0.1:{port}/binary"
        out = await run("curl", "-sS", "--tftp-blksize", block_size, "-o", "got", url, cwd=tmp_path)
    assert out == ""
    assert (tmp_path / "got").read_bytes() == BINARY
