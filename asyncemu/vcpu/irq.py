# SPDX-License-Identifier: GPL-2.0-or-later
"""IrqLine: a device's wire to an interrupt controller."""

from __future__ import annotations

from collections.abc import Callable

from asyncemu.loop import any_thread


class IrqLine:
    """A level-triggered line. Cheap, and callable from any thread; the controller behind it locks and kicks."""

    __slots__ = ("_drive", "name")

    def __init__(self, drive: Callable[[bool], None], name: str = "irq") -> None:
        self._drive = drive
        self.name = name

    @any_thread
    def set(self, level: bool) -> None:
        """Raise (True) or lower the line. Setting it to what it is already does nothing."""
        self._drive(level)

    def __repr__(self) -> str:
        return f"<IrqLine {self.name}>"
