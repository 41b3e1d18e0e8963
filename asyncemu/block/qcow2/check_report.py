# SPDX-License-Identifier: GPL-2.0-or-later
"""Report: what a check has found so far, in QEMU's words, and whether it is to be repaired.

Counts are those of the current part: the parts of a check are added up at the end, as QEMU does it, since a part asks
what it has found itself.
"""

from __future__ import annotations

from typing import Final

from asyncemu.block.types import CheckResult, Repair

#: Lines that are kept: an image can have billions of bad entries. All of them are counted.
_MAX_LINES: Final = 1 << 18


class CheckStopped(Exception):
    """The check can't go on; ``errno`` is QEMU's."""

    def __init__(self, number: int) -> None:
        self.errno = number
        super().__init__(number)


class Report:
    """Of one check."""

    def __init__(self, repair: Repair) -> None:
        self.fix_errors = repair == "all"
        self.fix_leaks = repair in ("leaks", "all")
        self.lines: list[str] = []
        #: Of the current part.
        self.counts = CheckResult()
        #: Nothing is said or counted: what is looked at has been looked at before.
        self.muted = False

    def say(self, line: str) -> None:
        """A line for the user."""
        if self.muted:
            return
        if len(self.lines) < _MAX_LINES:
            self.lines.append(line)
        elif len(self.lines) == _MAX_LINES:
            self.lines.append("Further findings are counted, but not listed")

    def corruption(self, line: str) -> None:
        """Damage."""
        if not self.muted:
            self.counts.corruptions += 1
            self.say(line)

    def fixed(self, count: int = 1) -> None:
        """So many corruptions that were counted have been repaired."""
        self.counts.corruptions -= count
        self.counts.corruptions_fixed += count

    def error(self, line: str = "") -> None:
        """The check itself did not work."""
        self.counts.check_errors += 1
        if line:
            self.say(line)

    @property
    def verb(self) -> str:
        """How a finding begins that is repaired when errors are."""
        return "Repairing" if self.fix_errors else "ERROR"


def add_counts(total: CheckResult, part: CheckResult) -> None:
    """Add those of a part. QEMU: qcow2_add_check_result."""
    total.corruptions += part.corruptions
    total.leaks += part.leaks
    total.check_errors += part.check_errors
    total.corruptions_fixed += part.corruptions_fixed
    total.leaks_fixed += part.leaks_fixed
