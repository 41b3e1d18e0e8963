# SPDX-License-Identifier: GPL-2.0-or-later
"""File descriptors that clients have handed over: by name, one monitor's (getfd). Sets of them: asyncemu/fdsets.py."""

from __future__ import annotations

import os
from typing import Final

from asyncemu.monitor.errors import QmpError

#: Descriptors that are kept by name. Arbitrary: a client that hands over more has lost count, and the process has some
#: thousand.
MAX_DESCRIPTORS: Final = 256


class NamedDescriptors:
    """Main context, like the commands."""

    def __init__(self) -> None:
        self._fds: dict[str, int] = {}

    def keep(self, name: str, fd: int) -> None:
        """Own ``fd`` under ``name``; what was there is closed. Raises QmpError, and has closed ``fd`` then."""
        problem = ""
        if name[:1].isdigit():
            problem = "Parameter 'fdname' expects a name not starting with a digit"
        elif len(self._fds) >= MAX_DESCRIPTORS and name not in self._fds:
            problem = f"{MAX_DESCRIPTORS} file descriptors are kept already"
        if problem:
            os.close(fd)
            raise QmpError(problem)
        if name in self._fds:
            os.close(self._fds[name])
        self._fds[name] = fd

    def take(self, name: str) -> int:
        """The descriptor ``name``, which is the caller's from now on. Raises QmpError."""
        try:
            return self._fds.pop(name)
        except KeyError:
            raise QmpError(f"File descriptor named '{name}' not found") from None

    def discard(self, name: str) -> None:
        """Close the descriptor ``name``. Raises QmpError."""
        os.close(self.take(name))

    def close(self) -> None:
        """Close all of them."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
