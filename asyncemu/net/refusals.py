# SPDX-License-Identifier: GPL-2.0-or-later
"""What can't be done with a network at run time. ``str`` of each is what QEMU says, whole: a monitor passes it on.

Refused          "Duplicate ID 'net0'"
└── NotThere     "Device 'net0' not found"
"""

from __future__ import annotations

from asyncemu.errors import AsyncemuError


class Refused(AsyncemuError):
    """It can't be done; nothing has changed."""


class NotThere(Refused):
    """Nothing has that name. QEMU's class DeviceNotFound."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"Device '{name}' not found")
