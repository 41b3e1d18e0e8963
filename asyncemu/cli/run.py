# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot the machine that a vm.toml describes, and stay until it ends.

With a chardev on the terminal, Ctrl-A x ends the machine and Ctrl-A h lists the other commands.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncemu.cli.interrupts import Interrupts
    from asyncemu.config import VmConfig
    from asyncemu.loop import AioContext
    from asyncemu.machine import ExitReason, Machine

#: Exit status when the guest panicked or can't go on.
GUEST_FAILED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command takes."""
    add_config_argument(parser)
    add_set_argument(parser)


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """For every command that reads a vm.toml."""
    parser.add_argument("config", type=Path, metavar="vm.toml", help="description of the machine")


def add_set_argument(parser: argparse.ArgumentParser) -> None:
    """For every command that makes a machine."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="override one key: machine.memory=512MiB (sizes: K, M, G and KiB, MiB, GiB are powers of 1024), "
        "blockdev.disk0.read-only=true, device.1.serial=abc (by name or by number); may be repeated",
    )


def command(options: argparse.Namespace) -> int:
    """Boot; the exit status."""
    with no_collection():
        from asyncemu.config import load

        return run_machine(load(options.config, options.overrides), options.interrupts)


@contextmanager
def no_collection() -> Iterator[None]:
    """No garbage collection within, or until ``machine_is_up``.

    Importing and building make many objects and hardly any garbage: to walk them again and again takes a tenth of the
    time until the machine starts.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def machine_is_up() -> None:
    """Collect garbage again, but never look at what is there now: it stays until the end.

    A full collection over all modules would hold the loop and the vCPUs up for some 20 ms.
    """
    gc.freeze()
    gc.enable()


def run_machine(config: VmConfig, interrupts: Interrupts) -> int:
    """Build, run and close the machine of ``config``; the exit status."""
    from asyncemu.cli.log import log_to_stderr
    from asyncemu.loop import MainLoop

    log_to_stderr()
    return MainLoop.run(lambda context: _run(context, config, interrupts))


async def _run(context: AioContext, config: VmConfig, interrupts: Interrupts) -> int:
    import asyncio

    from asyncemu.machine import ExitReason

    interrupted = asyncio.Event()

    def tell() -> None:
        # Within a signal handler, which may come when the loop is closed already.
        if not context.loop.is_closed():
            context.loop.call_soon_threadsafe(interrupted.set)

    interrupts.ask(tell)
    machine = config.make_machine(context)
    running = context.loop.create_task(_until_exit(machine))
    waiting = context.loop.create_task(interrupted.wait())
    try:
        # Building may wait (for a socket's client, say), so a signal must be heard there too.
        await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
            return 0  # the status of interruption is the program's to give
        return GUEST_FAILED if running.result() is ExitReason.GUEST_FAILURE else 0
    finally:
        waiting.cancel()
        await machine.close()


async def _until_exit(machine: Machine) -> ExitReason:
    await machine.build()
    machine.start()
    machine_is_up()
    return await machine.wait_for_exit()
