# SPDX-License-Identifier: GPL-2.0-or-later
"""The real QEMU, asked the same commands."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, TypeAlias

import pytest

Commands: TypeAlias = Sequence[tuple[str, dict[str, Any]]]
Replies: TypeAlias = list[dict[str, Any]]

_PROGRAM = "qemu-system-riscv64"

#: Seconds. Some commands make QEMU 7.2 hang (object-add of a filter-dump that fails closes its standard input).
_LONGEST = 60

needs_qemu = pytest.mark.skipif(shutil.which(_PROGRAM) is None, reason=f"{_PROGRAM} is not installed")


async def ask_qemu(commands: Commands, *arguments: str) -> Replies:
    """QEMU's replies, without events. ``arguments``: of its command line."""
    lines: list[dict[str, Any]] = [{"execute": "qmp_capabilities"}]
    lines += [{"execute": name, "arguments": members} for name, members in commands]
    lines.append({"execute": "quit"})
    process = await asyncio.create_subprocess_exec(
        *(_PROGRAM, "-M", "virt", "-nodefaults", "-display", "none", "-S", "-qmp", "stdio", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_LONGEST):
            output, _ = await process.communicate("".join(json.dumps(line) + "\n" for line in lines).encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    replies = [json.loads(line) for line in output.splitlines() if line.startswith(b"{")]
    found = [each for each in replies if "return" in each or "error" in each]
    return found[1 : len(commands) + 1]


def qemu_img(*arguments: str) -> str:
    """What qemu-img prints; it must succeed."""
    return subprocess.run(["qemu-img", *arguments], check=True, capture_output=True, text=True).stdout
