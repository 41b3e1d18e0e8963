# SPDX-License-Identifier: GPL-2.0-or-later
"""null: a cable that ends nowhere. It takes all frames, whole segments too, and gives none."""

from __future__ import annotations

from pydantic import Field

from asyncemu.loop import AioContext, Clocks
from asyncemu.net.backend import NetBackend
from asyncemu.net.frame import Frames
from asyncemu.net.port import NetPort
from asyncemu.options import Options


class NullOptions(Options):
    """Options of null."""

    queues: int = Field(default=1, ge=1, le=64, description="Queue pairs of the device.")


class Null(NetBackend[NullOptions], name="null"):
    """``taken`` is how many frames went nowhere."""

    description = "Nothing comes in, and what goes out is discarded."

    has_vnet_header = True

    def __init__(self, options: NullOptions, id: str, context: AioContext, clocks: Clocks) -> None:
        super().__init__(options, id, context, clocks)
        self._more = [_NullQueue(f"{id}.{index}", context) for index in range(1, options.queues)]
        self._taken = 0

    @property
    def ports(self) -> tuple[NetPort, ...]:
        return (self, *self._more)

    @property
    def taken(self) -> int:
        """Frames of all queue pairs."""
        return self._taken + sum(each.taken for each in self._more)

    def transmit(self, frames: Frames) -> None:
        self._taken += len(frames)


class _NullQueue(NetPort):
    """The end of one more queue pair."""

    has_vnet_header = True

    def __init__(self, name: str, context: AioContext) -> None:
        super().__init__(name, context)
        self.taken = 0

    def receive(self, frames: Frames) -> int:
        self.taken += len(frames)
        return len(frames)
