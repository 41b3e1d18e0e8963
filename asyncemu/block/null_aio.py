# SPDX-License-Identifier: GPL-2.0-or-later
"""NullAioDriver: as null-co, but no request is done when it returns: a bottom half ends it. QEMU's ``null-aio``."""

from __future__ import annotations

from asyncemu.block.null_co import NullDriver


class NullAioDriver(NullDriver, name="null-aio"):
    """Takes every request, does nothing, and says so in a later round of the loop."""

    description = "A disk that is not there and takes its time to say so, to measure what lies above it."
    protocol = "null-aio"

    async def _complete(self) -> None:
        if self.options.latency_ns:
            await self._pass_time()
            return
        over = self.context.loop.create_future()

        def end() -> None:
            if not over.done():  # a cancelled request
                over.set_result(None)

        self.context.schedule_oneshot(end)
        await over
