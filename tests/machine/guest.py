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
"""

#: Only where a test is about it: the known hang (docs/performance.md) begins in its driver, one boot of some twenty.
RNG = """
[[device]]
driver = "virtio-rng"
"""


class Guest:
    """A running ``python -m asyncemu``; ``console`` is all that it has printed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.console = b""

    async def expect(self, pattern: str) -> re.Match[bytes]:
        """Read until ``pattern`` has been printed; everything before it counts too."""
        compiled = re.compile(pattern.encode())
        async with asyncio.timeout(PATIENCE):
            while (match := compiled.search(self.console)) is None:
                if not await self._read():
                    raise AssertionError(f"ended before {pattern!r}:\n{self.text}")
        return match

    async def send(self, text: str) -> None:
        """Type."""
        assert self.process.stdin is not None
        self.process.stdin.write(text.encode())
        await self.process.stdin.drain()

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
    text = CONFIG.format(image=files.image, initrd=files.initrd, disk=disk, session=session)
    config.write_text(text + (RNG if session == "demo" else ""))
    return config
