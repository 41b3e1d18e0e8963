# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames for whoever takes plain ones only: a socket, a tap device without a header, a port of a hub.

A guest that may leave sums and segments to us is far faster than one that does them itself, also where we finish them.
"""

from __future__ import annotations

from collections.abc import Sequence

from asyncemu.net.frame import PLAIN, Frame
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.packets.offload import finish


def plain(frame: Frame) -> Sequence[Frame]:
    """What ``frame`` stands for on a wire, in one frame or several; none when its header does not fit it."""
    if frame.vnet is PLAIN or frame.vnet == PLAIN:
        return (frame,)
    try:
        return finish(frame)
    except Malformed:
        return ()
