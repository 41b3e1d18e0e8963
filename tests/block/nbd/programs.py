# SPDX-License-Identifier: GPL-2.0-or-later
"""Other people's programs, run beside the loop of a test."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple

#: Seconds after which a program counts as hanging.
TIMEOUT: Final = 30


class Ended(NamedTuple):
    """What became of a program."""

    code: int
    output: str
    errors: str


async def run(*command: str | Path) -> Ended:
    """Run it to its end."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, output.decode(errors="replace"), errors.decode(errors="replace"))


async def output_of(*command: str | Path) -> str:
    """Run it: it must succeed."""
    ended = await run(*command)
    assert ended.code == 0, ended
    return ended.output


async def libnbd(script: str, *arguments: str | Path) -> str:
    """Run ``script`` with libnbd: ``h`` is a handle, ``args`` the arguments; what it prints."""
    return await output_of(
        "/usr/bin/python3", "-c", f"import nbd, sys\nargs = sys.argv[1:]\nh = nbd.NBD()\n{script}", *arguments
    )


@contextlib.asynccontextmanager
async def running(*command: str | Path) -> AsyncIterator[Any]:
    """Run a server, nbdkit or qemu-nbd, until it listens; it is ended at the end."""
    with tempfile.TemporaryDirectory() as directory:
        async with _running(Path(directory) / "pid", *command) as process:
            yield process


@contextlib.asynccontextmanager
async def _running(pid_file: Path, *command: str | Path) -> AsyncIterator[Any]:
    # They write it when they listen.
    option = "--pidfile" if command[0] == "nbdkit" else "--pid-file"
    arguments = [str(command[0]), f"{option}={pid_file}", *map(str, command[1:])]
    process = await asyncio.create_subprocess_exec(*arguments, stdin=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(TIMEOUT):
            while not pid_file.exists():
                assert process.returncode is None, f"{command[0]} has ended with {process.returncode}"
                await asyncio.sleep(0.01)
        yield process
    finally:
        if process.returncode is None:
            # Politely asked, they wait for their clients.
            process.kill()
        await process.wait()
