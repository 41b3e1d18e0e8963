# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo's disk: a qcow2 overlay on a raw base; and the same disk over NBD, in a second machine and to QEMU."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.machine.guest import debian, run

pytestmark = [pytest.mark.guest, pytest.mark.slow]

OVERLAY = 'driver = "qcow2"\nfile = { driver = "file", filename = "overlay.qcow2" }'
REMOTE = 'driver = "nbd"\nserver = { type = "unix", path = "../nbd.sock" }\nread-only = true'


def with_disk(config: Path, disk: str) -> Path:
    """``config`` with another disk than ``disk.img``."""
    text = config.read_text()
    text = text.replace(f'driver = "file"\nfilename = "{config.parent / "disk.img"}"', disk)
    assert disk in text
    config.write_text(text)
    return config


@asynccontextmanager
async def served(image: Path, socket: Path) -> AsyncIterator[None]:
    """``image`` at ``socket``, by our server."""
    pid_file = socket.with_name("pid")
    # With --fork the command returns when the server listens.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncemu", "nbd", "--fork", "-t", "-r", "-e", "4", "-f", "qcow2"),
        *("--pid-file", str(pid_file), "-k", str(socket), str(image)),
    )
    assert await process.wait() == 0
    try:
        yield
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGTERM)


@pytest.mark.timeout(400)
async def test_demo_writes_its_overlay_and_another_machine_and_qemu_read_it_over_nbd(tmp_path: Path) -> None:
    config = debian(tmp_path, "demo")
    base, overlay = tmp_path / "disk.img", tmp_path / "overlay.qcow2"
    before = base.read_bytes()
    create = ["img", "create", "-q", "-f", "qcow2", "-b", "disk.img", "-F", "raw", str(overlay)]
    subprocess.run([sys.executable, "-m", "asyncemu", *create], check=True)

    async with run(with_disk(config, OVERLAY)) as guest:
        await guest.expect("demo: done")
        assert await guest.wait() == 0

    assert base.read_bytes() == before
    subprocess.run(["qemu-img", "check", "-q", str(overlay)], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(overlay), str(tmp_path / "flat")], check=True)
    expected = hashlib.sha256((tmp_path / "flat").read_bytes()).hexdigest()
    assert expected != hashlib.sha256(before).hexdigest()

    socket = tmp_path / "nbd.sock"
    async with served(overlay, socket):
        uri = f"nbd+unix:///?socket={socket}"
        subprocess.run(["qemu-img", "compare", "-q", "-F", "raw", str(overlay), uri], check=True)
        (tmp_path / "second").mkdir()
        async with run(with_disk(debian(tmp_path / "second", "sha256"), REMOTE)) as second:
            found = await second.expect(r"sha256 ([0-9a-f]{64})")
            await second.wait()

    assert found[1].decode() == expected
