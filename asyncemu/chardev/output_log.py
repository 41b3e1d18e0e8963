# SPDX-License-Identifier: GPL-2.0-or-later
"""OutputLog: the file that gets all output of a chardev besides the outside (``logfile``)."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

from asyncemu.errors import ChardevError

logger: Final = logging.getLogger("asyncemu.chardev")


class OutputLog:
    """Of the chardev ``id``. It ends at the first error, which is logged; the chardev goes on."""

    def __init__(self, id: str, path: Path, append: bool) -> None:
        """Raises ChardevError."""
        self._id = id
        self._path = path
        # O_NONBLOCK: a FIFO that nobody reads is an error and not a hang.
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_APPEND if append else os.O_TRUNC)
        try:
            self._fd = os.open(path, flags, 0o666)
        except OSError as error:
            raise ChardevError(id, error.errno or 0, f"open logfile {path}") from error

    def write(self, data: bytes) -> None:
        """Never waits."""
        if self._fd < 0:
            return
        try:
            os.write(self._fd, data)
        except OSError as error:
            logger.error("%s", ChardevError(self._id, error.errno or 0, f"write logfile {self._path}; it ends here"))
            self.close()

    def close(self) -> None:
        """May be called again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
