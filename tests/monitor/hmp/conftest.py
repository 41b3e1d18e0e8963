# SPDX-License-Identifier: GPL-2.0-or-later
"""Users of the human monitor, of machines in this process and of QEMU."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from asyncemu.config.load import check
from asyncemu.loop import AioContext
from asyncemu.machine import Machine
from asyncemu.monitor.control import Control
from asyncemu.monitor.hmp.session import Session

QEMU = shutil.which("qemu-system-riscv64")

#: Where RAM begins, in both.
RAM_BASE = 0x8000_0000

Build = Callable[..., Awaitable[Machine]]
AskQemu = Callable[..., list[str]]


@pytest.fixture
async def build(context: AioContext, tmp_path: Path) -> AsyncIterator[Build]:
    """``await build(**tables)``: a machine of 16 MiB that is built and does not run; closed after the test."""
    machines: list[Machine] = []

    async def build_machine(**tables: Any) -> Machine:
        options = {"memory": "16MiB", "paused": True, **tables.pop("machine", {})}
        machine = check({"machine": options, **tables}, tmp_path).make_machine(context)
        machines.append(machine)
        await machine.build()
        machine.start()
        return machine

    yield build_machine
    for machine in machines:
        await machine.close()


@pytest.fixture
async def session(build: Build) -> Session:
    """A user of a machine with nothing but a board, which is paused."""
    return Session(Control(await build()))


@pytest.fixture
def ask_qemu(tmp_path: Path) -> AskQemu:
    """``ask_qemu(lines, *arguments)``: what QEMU prints for each line, on a machine of 16 MiB that is paused."""
    if QEMU is None:
        pytest.skip("qemu-system-riscv64 is not installed")

    def ask(lines: Sequence[str], *arguments: str) -> list[str]:
        requests: list[dict[str, Any]] = [{"execute": "qmp_capabilities"}]
        requests += [{"execute": "human-monitor-command", "arguments": {"command-line": line}} for line in lines]
        requests.append({"execute": "quit"})
        board = ["-M", "virt", "-m", "16M", "-S", "-display", "none", "-nodefaults", "-bios", "none", "-qmp", "stdio"]
        program = subprocess.run(
            [str(QEMU), *board, *arguments],
            input="\n".join(map(json.dumps, requests)),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            cwd=tmp_path,
        )
        # What is wrong with a line, QEMU sometimes tells its standard output.
        replies = [json.loads(line) for line in program.stdout.splitlines() if line.startswith("{")]
        return [reply["return"] for reply in replies if isinstance(reply.get("return"), str)]

    return ask
