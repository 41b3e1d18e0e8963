# SPDX-License-Identifier: GPL-2.0-or-later
"""Character devices: byte streams between a front end (UART, virtio-console) and the outside."""

from asyncemu.chardev.chardev import Chardev, ChardevOptions
from asyncemu.chardev.escape import MuxCommand
from asyncemu.chardev.frontend import ChardevEvent, Frontend, SwappableFrontend

__all__ = ["Chardev", "ChardevEvent", "ChardevOptions", "Frontend", "MuxCommand", "SwappableFrontend"]
