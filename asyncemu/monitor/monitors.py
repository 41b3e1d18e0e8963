# SPDX-License-Identifier: GPL-2.0-or-later
"""Monitors: all monitors of a machine, from before it starts to before it is closed.

    monitors = Monitors(control, entries); await monitors.open(); ...; await monitors.close()

Their chardevs are the machine's, which has built them; QMP's live in a thread of their own (Machine.monitor_iothread).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from asyncemu.chardev import Chardev
from asyncemu.errors import ConfigError
from asyncemu.events import Occurrence
from asyncemu.loop import home
from asyncemu.monitor.control import Control
from asyncemu.monitor.options import MonitorEntry
from asyncemu.monitor.qmp.dispatcher import Dispatcher
from asyncemu.monitor.qmp.event_throttle import EventThrottle
from asyncemu.monitor.qmp.monitor import QmpMonitor


class Monitors:
    """Home: the machine's."""

    def __init__(self, control: Control, entries: Sequence[MonitorEntry]) -> None:
        self.context = control.context
        self._control = control
        self._entries = entries
        self._dispatcher = Dispatcher(control)
        self._qmp: list[QmpMonitor] = []
        # Guest time may stand still; events are for people and programs outside.
        self._clock = control.machine.clocks.realtime
        self._throttle = EventThrottle()
        self._timer = self.context.timer(self._clock, self._throttle_due)
        self._undo = AsyncExitStack()

    @home
    async def open(self) -> None:
        """Greet clients, and obey. The machine is built. Raises ConfigError; ``close`` undoes what was done."""
        self._undo.callback(self._control.machine.events.subscribe(self._heard))
        self._undo.callback(self._timer.cancel)
        self._undo.push_async_callback(self._close_monitors)
        self._dispatcher.start()
        for entry in self._entries:
            chardev = self._control.machine.chardevs[entry.options.chardev]
            try:
                await self._add(entry, chardev)
            except ValueError as error:
                # Of the chardev: it has a front end.
                raise ConfigError(f"{entry.where}.chardev", str(error)) from error

    async def _add(self, entry: MonitorEntry, chardev: Chardev[Any]) -> None:
        if entry.options.mode == "readline":
            from asyncemu.monitor.hmp.monitor import HumanMonitor

            human = HumanMonitor(self._control, chardev, entry.identity)
            human.attach()
            self._undo.push_async_callback(human.close)
            return
        monitor = QmpMonitor(self._control, chardev, entry.identity, self._dispatcher.kick, pretty=entry.options.pretty)

        async def attach() -> None:
            monitor.attach()

        await monitor.context.call(attach)
        self._dispatcher.add(monitor)
        self._qmp.append(monitor)

    @home
    async def close(self) -> None:
        """Say what is left to say, and listen no more. Twice is once."""
        await self._undo.aclose()

    async def _close_monitors(self) -> None:
        await self._dispatcher.close()
        # Together: each may have to wait for a client that is stuck.
        await asyncio.gather(*(monitor.context.call(monitor.close) for monitor in self._qmp))
        for monitor in self._qmp:
            monitor.descriptors.close()
        self._qmp.clear()
        self._control.fdsets.close()

    # ---- events

    def _heard(self, occurrence: Occurrence) -> None:
        going = self._throttle.offer(occurrence, self._clock.now())
        if going is not None:
            self._tell(going)
        self._arm()

    def _throttle_due(self) -> None:
        for occurrence in self._throttle.due(self._clock.now()):
            self._tell(occurrence)
        self._arm()

    def _tell(self, occurrence: Occurrence) -> None:
        for monitor in self._qmp:
            monitor.tell(occurrence)

    def _arm(self) -> None:
        deadline = self._throttle.deadline()
        if deadline is not None:
            self._timer.mod(deadline)
