# SPDX-License-Identifier: GPL-2.0-or-later
"""null: takes all output and gives no input. As in QEMU, its other end never counts as there."""

from __future__ import annotations

from asyncemu.chardev.chardev import Chardev, ChardevOptions


class Null(Chardev[ChardevOptions], name="null"):
    """No outside at all."""

    description = "Nothing comes in, and what goes out is discarded."

    async def connect(self) -> None:
        """There is nothing to reach."""

    def transmit(self, data: bytes) -> int:
        return len(data)
