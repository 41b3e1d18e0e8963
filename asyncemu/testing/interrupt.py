# SPDX-License-Identifier: GPL-2.0-or-later
"""IrqRecorder: the far end of a device's interrupt wire."""

from __future__ import annotations

import asyncio
import threading

from asyncemu.loop import AioContext, home
from asyncemu.testing.waiting import GUARD
from asyncemu.vcpu.irq import IrqLine


class IrqRecorder:
    """``line`` goes to the device; what becomes of it is seen here. Home: ``context``; the device may be anywhere."""

    def __init__(self, context: AioContext, name: str = "irq") -> None:
        self.context = context
        self.line = IrqLine(self._set, name)
        #: Is it up?
        self.level = False
        #: How often it went up.
        self.raised = 0
        self._lock = threading.Lock()
        self._changed = asyncio.Event()

    def _set(self, level: bool) -> None:
        with self._lock:
            if level == self.level:
                return
            self.level = level
            self.raised += level
        self.context.schedule_oneshot(self._changed.set)

    @home
    async def wait(self, level: bool = True) -> None:
        """Return when the line is up (or down, for False); TimeoutError after GUARD seconds."""
        async with asyncio.timeout(GUARD):
            while self.level != level:
                self._changed.clear()
                await self._changed.wait()
