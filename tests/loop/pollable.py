# SPDX-License-Identifier: GPL-2.0-or-later
"""A Pollable of the tests' own."""

from __future__ import annotations

from typing import Final

#: More looks than there will be, and longer than anything takes in ns.
NEVER: Final = 1 << 60


class Work:
    """A Pollable that finds work at the ``finds_at``-th look."""

    def __init__(self, finds_at: int = 1, rung_by_vcpu: bool = False) -> None:
        self.rung_by_vcpu = rung_by_vcpu
        self.finds_at = finds_at
        self.looks = 0
        self.done = 0

    def poll(self) -> bool:
        self.looks += 1
        return self.looks == self.finds_at

    def poll_ready(self) -> None:
        self.done += 1
