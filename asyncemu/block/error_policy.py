# SPDX-License-Identifier: GPL-2.0-or-later
"""What a device does when a request fails: ``rerror`` and ``werror``. QEMU: BlockdevOnError, BlockErrorAction."""

from __future__ import annotations

import enum
import errno
from typing import Literal, TypeAlias

#: As in vm.toml. ``auto``: report for reads, enospc for writes.
OnError: TypeAlias = Literal["report", "ignore", "enospc", "stop", "auto"]


class ErrorAction(enum.Enum):
    """What to do about one error."""

    #: The guest sees an error.
    REPORT = "report"
    #: The guest sees success.
    IGNORE = "ignore"
    #: The machine stops, and the request is made again when it goes on.
    STOP = "stop"


class IoStatus(enum.Enum):
    """Of a device whose errors may stop the machine. QEMU: BlockDeviceIoStatus."""

    OK = "ok"
    FAILED = "failed"
    NO_SPACE = "nospace"


class ErrorPolicy:
    """Of one BlockBackend."""

    def __init__(self, on_read_error: OnError = "auto", on_write_error: OnError = "auto") -> None:
        self.on_read_error = on_read_error
        self.on_write_error = on_write_error

    @property
    def may_stop(self) -> bool:
        """Are there errors that stop the machine? QEMU: blk_iostatus_is_enabled."""
        return self.on_write_error in ("auto", "enospc", "stop") or self.on_read_error == "stop"

    def action(self, is_read: bool, number: int) -> ErrorAction:
        """For an error with this errno."""
        choice = self.on_read_error if is_read else self.on_write_error
        if choice == "auto":
            choice = "report" if is_read else "enospc"
        if choice == "enospc":
            return ErrorAction.STOP if number == errno.ENOSPC else ErrorAction.REPORT
        return ErrorAction(choice)
