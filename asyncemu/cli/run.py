# SPDX-License-Identifier: GPL-2.0-or-later
"""Boot the machine that a vm.toml describes, and stay until it ends.

With a chardev on the terminal, Ctrl-A x ends the machine and Ctrl-A h lists the other commands.
With --trace, SIGUSR1 switches recording off and on.
"""

from __future__ import annotations

import argparse
import gc
import math
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncemu.cli.interrupts import Interrupts
    from asyncemu.config import VmConfig
    from asyncemu.loop import AioContext
    from asyncemu.machine import ExitReason, Machine
    from asyncemu.tracing.stall import Stall

#: Exit status when the guest panicked or can't go on.
GUEST_FAILED = 1

#: Milliseconds that a stall may be asked to last: an hour (arbitrary; below one, every host has them).
MAX_STALL = 3_600_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command takes."""
    add_config_argument(parser)
    add_set_argument(parser)
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="record what the loops and vCPUs do, and write it when the machine ends, for asyncemu trace and "
        "https://ui.perfetto.dev; a FILE.gz is compressed",
    )
    parser.add_argument(
        "--stall",
        type=_milliseconds,
        metavar="MS",
        help="say which callback it was when a loop has been held for longer than MS milliseconds",
    )


def _milliseconds(text: str) -> int:
    """As ns."""
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = math.nan
    if not 1 <= milliseconds <= MAX_STALL:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds from 1 to {MAX_STALL}")
    return round(milliseconds * 1_000_000)


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

        config = load(options.config, options.overrides)
        if options.trace is None:
            return run_machine(config, options.interrupts, options.stall)
        with _recording(options.trace):
            return run_machine(config, options.interrupts, options.stall)


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


@contextmanager
def _recording(path: Path) -> Iterator[None]:
    """Trace what happens within, and write it to ``path`` in the end. SIGUSR1 pauses it, and resumes it."""
    import signal

    from asyncemu.tracing import perfetto, tracer

    # First of all: if it can't be written, the user should know now.
    file = perfetto.create(path)

    def toggle(number: int, frame: object) -> None:
        tracer.on = not tracer.on

    signal.signal(signal.SIGUSR1, toggle)
    tracer.start()
    try:
        yield
    finally:
        # From here to the end of the process: the signal's default action would end it before the file is written.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        tracer.stop()
        perfetto.write(file, tracer.tracks())


def run_machine(config: VmConfig, interrupts: Interrupts, stall_ns: int | None = None) -> int:
    """Build, run and close the machine of ``config``; the exit status. With ``stall_ns``, watch its loops."""
    from asyncemu.cli.log import log_to_stderr
    from asyncemu.loop import MainLoop

    log_to_stderr()
    return MainLoop.run(lambda context: _run(context, config, interrupts, stall_ns))


async def _run(context: AioContext, config: VmConfig, interrupts: Interrupts, stall_ns: int | None) -> int:
    import asyncio
    import signal

    from asyncemu.machine import ExitReason

    interrupted = asyncio.Event()

    def tell() -> None:
        # Within a signal handler, which may come when the loop is closed already.
        if not context.loop.is_closed():
            context.loop.call_soon_threadsafe(interrupted.set)

    interrupts.ask(tell)
    machine = config.make_machine(context)
    # They end first, while the machine is whole.
    monitors = AsyncExitStack()
    # A back end's error has stopped the machine, and the user says that there is room again (or it was a plain Ctrl-Z).
    context.loop.add_signal_handler(signal.SIGCONT, machine.resume_after_io_error)
    running = context.loop.create_task(_until_exit(machine, config, monitors, stall_ns))
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
        try:
            await monitors.aclose()
        finally:
            await machine.close()


async def _until_exit(machine: Machine, config: VmConfig, monitors: AsyncExitStack, stall_ns: int | None) -> ExitReason:
    await machine.build()
    if config.monitors:
        await _open_monitors(machine, config, monitors)
    _offer_monitor(machine, config, monitors)
    machine.start()
    machine_is_up()
    if stall_ns is None:
        return await machine.wait_for_exit()
    with _watched(machine, stall_ns):
        return await machine.wait_for_exit()


async def _open_monitors(machine: Machine, config: VmConfig, undo: AsyncExitStack) -> None:
    # Imported when it is needed: a machine without monitors does not wait for it.
    from asyncemu.monitor.control import Control
    from asyncemu.monitor.monitors import Monitors

    monitors = Monitors(Control(machine), config.monitors)
    undo.push_async_callback(monitors.close)
    await monitors.open()


def _offer_monitor(machine: Machine, config: VmConfig, undo: AsyncExitStack) -> None:
    """Behind Ctrl-A c of the terminal there is a monitor, also when nobody has asked for one."""
    from asyncemu.monitor.hmp.lazy import attach_default

    monitor = attach_default(machine, {entry.options.chardev for entry in config.monitors})
    if monitor is not None:
        undo.push_async_callback(monitor.close)


@contextmanager
def _watched(machine: Machine, stall_ns: int) -> Iterator[None]:
    """Log which callback holds one of the machine's loops. Building and closing it do so, and are not meant."""
    from asyncemu.tracing.stall import StallDetector

    detector = StallDetector(stall_ns, _log_stall)
    for context in machine.contexts():
        detector.watch(context.name, context.thread_ident, context.schedule_oneshot)
    detector.start()
    try:
        yield
    finally:
        detector.close()


def _log_stall(stall: Stall) -> None:
    import logging

    logging.getLogger("asyncemu.stall").warning("%s", stall)
