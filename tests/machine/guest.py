# SPDX-License-Identifier: GPL-2.0-or-later
"""A machine in a process of its own, as users run it, and its console to talk to."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from guests import fetch

OPENSBI = Path("/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin")
U_BOOT_S_MODE = Path("/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin")
U_BOOT_M_MODE = Path("/usr/lib/u-boot/qemu-riscv64/u-boot.bin")

#: Of session=shell.
PROMPT = r"guest:/mnt# "

#: A boot takes about 3 s; this is for a machine with all cores busy. Seconds.
PATIENCE = 120.0

CONFIG = """
[machine]
memory = "256MiB"
kernel = "{image}"
initrd = "{initrd}"
append = "console=ttyS0 session={session}"

[[chardev]]
id = "console"
backend = "stdio"

[[blockdev]]
node-name = "disk0"
driver = "file"
filename = "{disk}"

[[device]]
driver = "virtio-blk"
drive = "disk0"
serial = "test-disk"

[[device]]
driver = "virtio-rng"
"""


class Guest:
    """A running ``python -m asyncemu``; ``console`` is all that it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.console = b""
        self._asked = 0

    async def expect(self, pattern: str, start: int = 0) -> re.Match[bytes]:
        """Read until ``pattern`` has been printed, behind ``start``; everything that was read before counts too."""
        compiled = re.compile(pattern.encode())
        async with asyncio.timeout(PATIENCE):
            while (match := compiled.search(self.console, start)) is None:
                if not await self._read():
                    raise AssertionError(f"ended before {pattern!r}:\n{self.text}")
        return match

    async def send(self, text: str) -> None:
        """Type."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        await self.process.stdin.drain()

    async def shell(self, command: str) -> str:
        """What a command prints at the prompt of session=shell. AssertionError unless its status is 0."""
        # What is typed before the prompt is there, the guest's line editor drops.
        start = (await self.expect(PROMPT, self._asked)).end()
        await self.send(f"{command}; echo status=$?.\n")
        # What the terminal echoes has no digit there.
        match = await self.expect(r"(?s)\n(.*?)status=(\d+)\.", start)
        self._asked = match.end()
        assert match[2] == b"0", self.text
        return match[1].decode(errors="replace").replace("\r\n", "\n")

    async def wait(self) -> int:
        """Until the process has ended; its exit status."""
        async with asyncio.timeout(PATIENCE):
            while await self._read():
                pass
            return await self.process.wait()

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal and wait for the end."""
        self.process.send_signal(number)
        return await self.wait()

    @property
    def text(self) -> str:
        """The console so far."""
        return self.console.decode(errors="replace").replace("\r\n", "\n")

    async def _read(self) -> bool:
        assert self.process.stdout is not None
        data = await self.process.stdout.read(65536)
        self.console += data
        return bool(data)


@asynccontextmanager
async def run(config: Path, *overrides: str, environment: dict[str, str] | None = None) -> AsyncIterator[Guest]:
    """``python -m asyncemu config --set ...`` with its console on pipes."""
    arguments = [word for override in overrides for word in ("--set", override)]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "asyncemu",
        str(config),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(environment or {})},
    )
    guest = Guest(process)
    try:
        yield guest
    finally:
        if process.returncode is None:
            await guest.kill()


def debian(directory: Path, session: str) -> Path:
    """A vm.toml in ``directory`` that boots Debian's kernel into ``session`` on a disk of its own."""
    files = fetch.ensure()
    disk = directory / "disk.img"
    shutil.copyfile(files.disk, disk)
    config = directory / "vm.toml"
    config.write_text(CONFIG.format(image=files.image, initrd=files.initrd, disk=disk, session=session))
    return config
