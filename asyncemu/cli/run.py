# SPDX-License-Identifier: GPL-2.0-or-later
"""``asyncemu run vm.toml``: boot a machine and stay until it ends."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncemu.config import VmConfig
    from asyncemu.loop import AioContext


def add_parser(commands: Any) -> None:
    """Add this command to the command line."""
    parser: argparse.ArgumentParser = commands.add_parser("run", help="boot the machine that a vm.toml describes")
    add_config_arguments(parser)
    parser.set_defaults(command=command)


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command that reads a vm.toml takes."""
    parser.add_argument("config", type=Path, metavar="vm.toml", help="description of the machine")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override one key, as in --set machine.memory=512MiB (may be repeated)",
    )


def command(options: argparse.Namespace) -> int:
    """Boot; the exit status."""
    from asyncemu.config import load

    return run_machine(load(options.config, options.overrides))


def run_machine(config: VmConfig) -> int:
    """Build, run and close the machine of ``config``; the exit status."""
    from asyncemu.loop import MainLoop

    logging.basicConfig(format="asyncemu: %(message)s", level=logging.INFO, stream=sys.stderr)
    return MainLoop.run(lambda context: _run(context, config))


async def _run(context: AioContext, config: VmConfig) -> int:
    from asyncemu.cli.main import INTERRUPTED
    from asyncemu.machine import ExitReason

    interrupted = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        context.loop.add_signal_handler(number, interrupted.set)
    machine = config.make_machine(context)
    running = context.loop.create_task(_until_exit(machine))
    waiting = context.loop.create_task(interrupted.wait())
    try:
        # Building may wait (for a socket's client, say), so a signal must be heard there too.
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            return INTERRUPTED
        return 1 if running.result() is ExitReason.GUEST_FAILURE else 0
    finally:
        waiting.cancel()
        await machine.close()


async def _until_exit(machine: Any) -> Any:
    await machine.build()
    machine.start()
    return await machine.wait_for_exit()
