# SPDX-License-Identifier: GPL-2.0-or-later
"""Network back ends: ports and links, filters, and the back ends that vm.toml names."""

from asyncemu.net.backend import NetBackend
from asyncemu.net.filter import FilterOptions, NetFilter, Way, place
from asyncemu.net.frame import PLAIN, Fill, Filled, Frame, Frames, VnetHeader
from asyncemu.net.port import NetPort, connect, disconnect
from asyncemu.net.queue import NetQueue

__all__ = [
    "PLAIN",
    "Fill",
    "Filled",
    "FilterOptions",
    "Frame",
    "Frames",
    "NetBackend",
    "NetFilter",
    "NetPort",
    "NetQueue",
    "VnetHeader",
    "Way",
    "connect",
    "disconnect",
    "place",
]
