# SPDX-License-Identifier: GPL-2.0-or-later
"""filter-redirector: frames go to a chardev instead of further on the link, and frames from one come onto it.

QEMU: net/filter-mirror.c.
"""

from __future__ import annotations

import logging
from typing import Annotated, Final

from pydantic import Field, model_validator

from asyncemu.errors import ProtocolError
from asyncemu.loop import AioContext, Clock
from asyncemu.net.filter import FilterOptions, NetFilter, Way
from asyncemu.net.filters.channel import Channel, FrameReceiver, FrameSender
from asyncemu.net.filters.injected import Injected
from asyncemu.net.frame import Frame, Frames
from asyncemu.plugins import Reference

logger: Final = logging.getLogger("asyncemu.net")


class RedirectorOptions(FilterOptions):
    """Options of filter-redirector."""

    indev: Annotated[str, Reference("chardev")] = Field(default="", description="The chardev that frames come from.")
    outdev: Annotated[str, Reference("chardev")] = Field(default="", description="The chardev that frames go to.")
    vnet_hdr_support: bool = Field(
        default=False, alias="vnet_hdr_support", description="Frames are unfinished, with the header of virtio-net."
    )

    @model_validator(mode="after")
    def _consistent(self) -> RedirectorOptions:
        if not self.indev and not self.outdev:
            raise ValueError("needs indev or outdev, or both")
        if self.indev == self.outdev:
            raise ValueError("indev and outdev are the same chardev")
        return self


class Redirector(NetFilter[RedirectorOptions], name="filter-redirector"):
    """With ``outdev`` no frame passes. What ``indev`` says goes on in the directions that ``queue`` names."""

    description = "Sends frames to a chardev instead, and puts those from one on the link."

    indev: Channel
    outdev: Channel

    def __init__(self, options: RedirectorOptions, id: str, context: AioContext, clock: Clock) -> None:
        super().__init__(options, id, context, clock)
        self._out: FrameSender | None = None
        self._in: FrameReceiver | None = None
        directions = {"all": (False, True), "rx": (True,), "tx": (False,)}[options.queue]
        self._injected = {to_netdev: Injected(self, to_netdev) for to_netdev in directions}

    async def open(self) -> None:
        with_headers = self.options.vnet_hdr_support
        if self.options.outdev:
            out = FrameSender(self.outdev, with_headers)
            out.open()
            self._out = out
        if self.options.indev:
            try:
                into = FrameReceiver(self.indev, with_headers, self._inject, self._broken)
                into.open()
            except BaseException:
                await self.close()
                raise
            self._in = into

    async def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None
        if self._in is not None:
            self._in.close()
            self._in = None

    @property
    def dropped(self) -> int:
        """Frames that the chardev did not take, or that came while nobody could get them."""
        out = self._out.dropped if self._out is not None else 0
        return out + sum(each.lost for each in self._injected.values())

    def pass_on(self, frames: Frames, way: Way) -> int:
        if self._out is None:
            return way.forward(frames)
        for frame in frames:
            self._out.send(frame)
        return len(frames)

    def next_ready(self, way: Way) -> None:
        injected = self._injected.get(way.to_netdev)
        if injected is not None and not injected.queue.flush():
            return
        if self._in is not None:
            self._in.go_on()
        way.ready()

    def _inject(self, frame: Frame) -> bool:
        if any(len(each.queue) for each in self._injected.values()):
            return False
        for each in self._injected.values():
            each.send(frame)
        return True

    def _broken(self, error: ProtocolError) -> None:
        logger.error("%s: indev is not listened to any more: %s", self.id, error)
