# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot a small built-in guest: a bare-metal program that drives a virtio-console and a virtio-blk disk.

It needs no network and leaves nothing behind. On a terminal, Ctrl-A x ends it early.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from asyncemu.cli.run import add_set_argument, no_collection, run_machine

#: Bytes.
SCRATCH_SIZE: Final = 8 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command takes."""
    add_set_argument(parser)


def command(options: argparse.Namespace) -> int:
    """Boot; the exit status as of ``run``."""
    import tempfile

    with no_collection(), tempfile.TemporaryFile(prefix="asyncemu-demo-") as scratch:
        from asyncemu.config import load

        scratch.truncate(SCRATCH_SIZE)
        # The file has no name: whatever ends the process, nothing is left. The machine opens it a second time.
        disk = f"blockdev.scratch.filename=/proc/self/fd/{scratch.fileno()}"
        config = load(Path(__file__).with_name("demo.toml"), [disk, *options.overrides])
        return run_machine(config, options.interrupts)
