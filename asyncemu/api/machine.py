# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine: a machine in the hands of an async program.

    async with asyncemu.Machine("vm.toml") as vm:
        print((await vm.run("uname -a")).output)
        await vm.qmp("stop")

Within the block the machine is built and runs; at its end it is closed, whatever has happened. It lives on the loop
that the block was entered on, asyncio's or uvloop's, which is its main loop and the home of everything here; nothing of
it may be called from another thread.
"""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from asyncemu.api.configuration import configure
from asyncemu.api.console import Console
from asyncemu.api.event_stream import EventStream
from asyncemu.api.shell import CommandResult, Shell
from asyncemu.chardev.python import Python
from asyncemu.errors import AsyncemuError
from asyncemu.events import Event, Occurrence, Reset
from asyncemu.loop import AioContext, Clocks
from asyncemu.loop.main_loop import SWITCH_INTERVAL
from asyncemu.machine import ExitReason
from asyncemu.machine import Machine as MachineParts
from asyncemu.memory import AddressSpace
from asyncemu.monitor import hmp
from asyncemu.monitor.control import Control
from asyncemu.monitor.monitors import Monitors

EventT = TypeVar("EventT", bound=Event)


class NoConsole(AsyncemuError):
    """The machine was made with ``console=False``."""


class Machine:
    """``config`` is the path of a vm.toml or its tables as dicts; ``overrides`` are those of ``--set``.

    Paths in it are relative to ``directory``: where it is not given, to the file, or to the current directory.
    Plug-ins that the program itself has defined are known by their names.
    ``console``: the program is at the other end of the UART, in the place of what vm.toml says.
    ``clocks``: other clocks than the kernel's, for guest time that a program moves (``asyncemu.testing.fake_clock``).
    ``paused``: the guest waits for ``resume``, as it does when [machine] paused says so.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any],
        *,
        overrides: Sequence[str] = (),
        directory: Path | None = None,
        console: bool = True,
        clocks: Clocks | None = None,
        paused: bool = False,
    ) -> None:
        self._config, self._console_id = configure(config, overrides, directory, console)
        if paused:
            options = self._config.machine.model_copy(update={"paused": True})
            self._config = dataclasses.replace(self._config, machine=options)
        self._clocks = clocks
        self._parts: MachineParts | None = None
        self._console: Console | None = None
        self._shell: Shell | None = None
        self._streams: list[EventStream[Any]] = []
        self._undo = AsyncExitStack()

    # ---- life

    async def __aenter__(self) -> Machine:
        """Build and start. Raises ConfigError, and has given everything back then."""
        # Rule 4: as MainLoop does for a program of ours. vCPU threads wait for the GIL behind the loop's.
        if sys.getswitchinterval() > SWITCH_INTERVAL:
            sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            await self._build()
        except BaseException:
            await self._undo.aclose()
            raise
        return self

    async def _build(self) -> None:
        context = AioContext(asyncio.get_running_loop(), self._config.machine.name or "main")
        self._undo.callback(context.close)
        context.timers.prepare()
        parts = self._parts = self._config.make_machine(context, self._clocks)
        self._undo.push_async_callback(parts.close)
        await parts.build()
        self.control = Control(parts)
        self._undo.callback(self._close_streams)
        if self._config.monitors:
            monitors = Monitors(self.control, self._config.monitors)
            self._undo.push_async_callback(monitors.close)
            await monitors.open()
        if self._console_id:
            await self._connect_console(parts)
        parts.events.subscribe(self._heard)
        parts.start()

    async def __aexit__(
        self, type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it, as ``quit`` does."""
        await self._undo.aclose()

    @property
    def parts(self) -> MachineParts:
        """What it is made of: ``devices``, ``block``, ``net``, ``chardevs``, ``iothreads``, by their ids."""
        if self._parts is None:
            raise AsyncemuError("the machine is built when its block is entered; write: async with Machine(...) as vm")
        return self._parts

    async def wait_for_exit(self) -> ExitReason:
        """Until the guest has powered off or failed, or somebody has quit."""
        return await self.parts.wait_for_exit()

    async def pause(self) -> None:
        """The guest stands still, and no request is in flight."""
        await self.parts.pause()

    def resume(self) -> None:
        """The guest runs."""
        self.parts.resume()

    async def reset(self) -> None:
        """Everything as at power-on; returns when it is."""
        await self.parts.reset()

    # ---- commands and events

    async def qmp(self, command: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> Any:
        """Run a QMP command; the JSON value of its result. Raises asyncemu.monitor.errors.QmpError.

        Arguments as QMP has them or by keyword with underscores: ``vm.qmp("block_resize", node_name="disk0", size=0)``.
        """
        return await self.control.execute(command, {**(arguments or {}), **more})

    async def hmp(self, line: str) -> str:
        """Run a line of the human monitor's; what it prints, errors too."""
        return await hmp.execute(self.control, line)

    def events(self, *types: type[EventT]) -> EventStream[EventT]:
        """The events of these types (none given: all) from now on."""
        stream: EventStream[EventT] = EventStream(self.parts.events, types)
        self._streams.append(stream)
        return stream

    # ---- the guest's terminal

    @property
    def console(self) -> Console:
        """The other end of the UART. Raises NoConsole."""
        if self._console is None:
            self.parts  # noqa: B018  # says it when the machine is not built yet
            raise NoConsole("this machine was made with console=False")
        return self._console

    @property
    def shell(self) -> Shell:
        """The shell at the other end of the console. Raises NoConsole."""
        if self._shell is None:
            self._shell = Shell(self.console)
        return self._shell

    async def run(self, command: str, *, timeout: float | None = None, check: bool = True) -> CommandResult:
        """Have the guest's shell run ``command``; see Shell.run. The first one waits for the shell's prompt."""
        return await self.shell.run(command, timeout=timeout, check=check)

    # ---- memory

    @property
    def memory(self) -> AddressSpace:
        """Guest physical memory: ``read(address, length)``, ``write(address, data)``, ``view``; or GuestError."""
        return self.parts.memory

    # ---- inside

    async def _connect_console(self, parts: MachineParts) -> None:
        chardev = parts.chardevs[self._console_id]
        assert isinstance(chardev, Python)  # the configuration was made so
        pair = chardev.open_pair(parts.context)
        self._undo.callback(pair.close)
        console = self._console = Console(pair)
        self._undo.push_async_callback(console.end, "the machine was closed")
        parts.exited.add_done_callback(lambda _: self._exited(console))

    def _exited(self, console: Console) -> None:
        reason = self.parts.exited.result()
        self._ending = asyncio.get_running_loop().create_task(console.end(f"the machine has ended: {reason.value}"))

    def _heard(self, occurrence: Occurrence) -> None:
        if isinstance(occurrence.event, Reset):
            # Another shell will greet, and the prompt of the last one is none of its.
            self._shell = None
            if self._console is not None:
                self._console.discard()

    def _close_streams(self) -> None:
        for stream in self._streams:
            stream.close()
