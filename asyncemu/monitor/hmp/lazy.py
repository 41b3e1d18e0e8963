# SPDX-License-Identifier: GPL-2.0-or-later
"""The monitor that a machine has on its terminal without being asked, as QEMU's has with -nographic: behind Ctrl-A c.

Nothing of the monitor is imported, or made, before somebody wants to see it: most users never do, and all wait for a
machine to start.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from asyncemu.chardev import Chardev, ChardevEvent
from asyncemu.chardev.stdio import Stdio
from asyncemu.loop import home

if TYPE_CHECKING:
    from asyncemu.machine import Machine
    from asyncemu.monitor.hmp.monitor import HumanMonitor


class LazyMonitor:
    """A Frontend in the place of a HumanMonitor, which it becomes. Home: the machine's, and the chardev's."""

    def __init__(self, machine: Machine, chardev: Chardev[Any]) -> None:
        self.context = machine.context
        self._machine = machine
        self._chardev = chardev
        self._monitor: HumanMonitor | None = None
        chardev.attach(self)

    @home
    async def close(self) -> None:
        """Leave the chardev."""
        self._chardev.detach(self)
        if self._monitor is not None:
            await self._monitor.close()

    @home
    def can_receive(self) -> int:
        """See Frontend."""
        return self._monitor.can_receive() if self._monitor is not None else 0

    @home
    def receive(self, data: bytes) -> None:
        """See Frontend."""
        if self._monitor is not None:
            self._monitor.receive(data)

    @home
    def chardev_event(self, event: ChardevEvent) -> None:
        """See Frontend."""
        if self._monitor is None and event is ChardevEvent.MUX_IN:
            # Importing takes some 0.1 s, once, of a user who has just pressed a key.
            from asyncemu.monitor.control import Control
            from asyncemu.monitor.hmp.monitor import HumanMonitor

            self._monitor = HumanMonitor(Control(self._machine), self._chardev)
        if self._monitor is not None:
            self._monitor.chardev_event(event)

    @home
    def writable(self) -> None:
        """See Frontend."""
        if self._monitor is not None:
            self._monitor.writable()


def attach_default(machine: Machine, taken: Collection[str] = ()) -> LazyMonitor | None:
    """A monitor on the terminal that the machine's console shares; None: there is no such terminal.

    Of a machine that is built; before it starts, at its home. ``taken`` are the chardevs that have a monitor already.
    """
    for chardev in machine.chardevs.values():
        if isinstance(chardev, Stdio) and chardev.is_mux() and chardev.context is machine.context:
            # Without a front end yet, the monitor would be the first one, and have what is typed for the console.
            shared = chardev.frontend is not None and chardev.id not in taken
            return LazyMonitor(machine, chardev) if shared else None
    return None
