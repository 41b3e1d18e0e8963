# SPDX-License-Identifier: GPL-2.0-or-later
"""Only: a network filter that lets frames pass of some EtherTypes only."""

from __future__ import annotations

from pydantic import Field

from asyncemu.net import FilterOptions, Frame, Frames, NetFilter, Way


class OnlyOptions(FilterOptions):
    """Keys in vm.toml, besides netdev, queue, status, position, insert."""

    ethertypes: list[int] = Field(default=[0x0800, 0x0806], description="What may pass; IPv4 and ARP by themselves.")


class Only(NetFilter[OnlyOptions], name="filter-only"):
    """Lets some EtherTypes pass."""

    #: Frames that were lost here.
    lost = 0

    def pass_on(self, frames: Frames, way: Way) -> int:
        for number, frame in enumerate(frames):
            if self._may_pass(frame):
                if not way.forward((frame,)):
                    return number
            else:
                self.lost += 1
        return len(frames)

    def _may_pass(self, frame: Frame) -> bool:
        return int.from_bytes(frame.head(14)[12:], "big") in self.options.ethertypes
