# SPDX-License-Identifier: GPL-2.0-or-later
"""ComplaintsLater: what the block layer logs while a tool runs, on stderr; nothing is imported before it logs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncemu.cli.tools.late_modules import when_run

if TYPE_CHECKING:
    from asyncemu.cli.tools.complaints import Complaints


class ComplaintsLater:
    """From now on, until ``end``."""

    def __init__(self) -> None:
        self._complaints: Complaints | None = None
        self._ended = False
        when_run("logging", self._begin)

    def _begin(self) -> None:
        if not self._ended:
            from asyncemu.cli.tools.complaints import Complaints

            self._complaints = Complaints()
            self._complaints.begin()

    def end(self) -> None:
        """Log elsewhere again."""
        self._ended = True
        if self._complaints is not None:
            self._complaints.end()
