# SPDX-License-Identifier: GPL-2.0-or-later
"""Dispatcher: one coroutine that does the in-band commands of all QMP monitors, one after the other.

Round robin: the monitor whose request was done last is the last to be asked again, so that one with many requests keeps
nobody waiting for more than one of them. QEMU: monitor_qmp_dispatcher_co().
"""

from __future__ import annotations

import asyncio
from collections import deque

from asyncemu.loop import any_thread, home
from asyncemu.monitor.control import Control
from asyncemu.monitor.qmp.monitor import Client, QmpMonitor
from asyncemu.monitor.qmp.running import run_in_band
from asyncemu.monitor.qmp.session import Request


class Dispatcher:
    """Home: the machine's. ``start``, ``add`` monitors; ``close`` ends a command that runs."""

    def __init__(self, control: Control) -> None:
        self.context = control.context
        self._control = control
        self._monitors: deque[QmpMonitor] = deque()
        self._attention = asyncio.Event()
        self._kick_bh = self.context.bh_new(self._attention.set, "qmp-dispatcher")
        self._task: asyncio.Task[None] | None = None

    @home
    def start(self) -> None:
        """Begin to do commands."""
        self._task = self.context.loop.create_task(self._run())

    @home
    async def close(self) -> None:
        """Do no more; a command that runs is cancelled, and nobody hears what came of it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._kick_bh.delete()

    @home
    def add(self, monitor: QmpMonitor) -> None:
        """Serve ``monitor``, too; what it has asked already as well."""
        self._monitors.append(monitor)
        self.kick()

    @any_thread
    def kick(self) -> None:
        """A monitor has a request."""
        self._kick_bh.schedule()

    async def _run(self) -> None:
        while True:
            taken = self._take()
            if taken is None:
                self._attention.clear()
                await self._attention.wait()
                continue
            monitor, client, request = taken
            monitor.took()
            monitor.answer(client, await run_in_band(self._control, monitor, request))

    def _take(self) -> tuple[QmpMonitor, Client, Request] | None:
        for _ in range(len(self._monitors)):
            monitor = self._monitors[0]
            self._monitors.rotate(-1)
            try:
                # Its thread may clear them in the same moment.
                client, request = monitor.requests.popleft()
            except IndexError:
                continue
            return monitor, client, request
        return None
