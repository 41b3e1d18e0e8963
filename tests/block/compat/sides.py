# SPDX-License-Identifier: GPL-2.0-or-later
"""The two sides: our tools, called in this process, and QEMU's, as processes."""

from __future__ import annotations

import contextlib
import io
import shlex
import subprocess
from typing import Protocol

from asyncemu.cli import img as our_img
from asyncemu.cli import io as our_io


class Side(Protocol):
    """Runs a command line of ``img`` or ``io``; its output. AssertionError when it fails."""

    name: str

    def run(self, tool: str, arguments: str) -> str: ...


class Ours:
    """asyncemu-img and asyncemu-io."""

    name = "asyncemu"

    def run(self, tool: str, arguments: str) -> str:
        output, errors = io.StringIO(), io.StringIO()
        main = our_img.main if tool == "img" else our_io.main
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = main([f"asyncemu-{tool}", *shlex.split(arguments)])
        assert not status, f"asyncemu-{tool} {arguments}: {status}\n{output.getvalue()}{errors.getvalue()}"
        return output.getvalue()


class Qemu:
    """qemu-img and qemu-io of Debian."""

    name = "QEMU"

    def run(self, tool: str, arguments: str) -> str:
        ended = subprocess.run([f"qemu-{tool}", *shlex.split(arguments)], capture_output=True, text=True, check=False)
        assert not ended.returncode, f"qemu-{tool} {arguments}: {ended.returncode}\n{ended.stdout}{ended.stderr}"
        return ended.stdout
