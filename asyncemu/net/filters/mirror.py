# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-mirror: a copy of each frame goes to a chardev. QEMU: net/filter-mirror.c."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asyncemu.loop import AioContext, Clock
from asyncemu.net.filter import FilterOptions, NetFilter, Way
from asyncemu.net.filters.channel import Channel, FrameSender
from asyncemu.net.frame import Frames
from asyncemu.plugins import Reference


class MirrorOptions(FilterOptions):
    """Options of filter-mirror."""

    outdev: Annotated[str, Reference("chardev")] = Field(description="The chardev that gets the copies.", min_length=1)
    vnet_hdr_support: bool = Field(
        default=False, alias="vnet_hdr_support", description="Send frames unfinished, with the header of virtio-net."
    )


class Mirror(NetFilter[MirrorOptions], name="filter-mirror"):
    """Nobody waits for the copies: they are dropped when the chardev's other end does not read them."""

    description = "Sends a copy of each frame to a chardev."

    outdev: Channel

    def __init__(self, options: MirrorOptions, id: str, context: AioContext, clock: Clock) -> None:
        super().__init__(options, id, context, clock)
        self._out: FrameSender | None = None

    async def open(self) -> None:
        out = FrameSender(self.outdev, self.options.vnet_hdr_support)
        out.open()
        self._out = out

    async def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    @property
    def dropped(self) -> int:
        """Copies that were lost."""
        return self._out.dropped if self._out is not None else 0

    def pass_on(self, frames: Frames, way: Way) -> int:
        taken = way.forward(frames)
        if self._out is not None:
            for frame in frames[:taken]:
                self._out.send(frame)
        return taken
