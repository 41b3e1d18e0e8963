# SPDX-License-Identifier: GPL-2.0-or-later
"""A flat binary: what no other format claims; copied to the load address and entered at its first byte."""

from __future__ import annotations

from asyncemu.machine.loader.placement import LoadedImage, Placement, Segment
from asyncemu.machine.loader.source import Source

FORMAT = "raw"


def parse(source: Source, placement: Placement) -> LoadedImage:
    """Raises ConfigError if it does not fit into RAM."""
    placement.check(source, placement.load_address, len(source.data))
    segment = Segment(placement.load_address, source.data, len(source.data))
    return LoadedImage(segment.address, (segment,), segment.end, FORMAT)
