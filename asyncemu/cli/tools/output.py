# SPDX-License-Identifier: GPL-2.0-or-later
"""stdout of a tool, whose errors nobody looks at, as C programs that print with printf(3) have it.

Who reads our output may have read enough (``| head -1``): then the rest goes nowhere, the tool does its work to the
end, and its exit status is that of its work.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any


class _Descriptor(io.RawIOBase):
    """A file descriptor that takes everything."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def write(self, data: Any) -> int:
        view = memoryview(data)
        try:
            return os.write(self._fd, view)
        except OSError:
            return view.nbytes


def open_stdout() -> None:
    """Let ``sys.stdout`` be such a file, buffered as it was: PYTHONUNBUFFERED has its meaning."""
    before = sys.stdout
    assert isinstance(before, io.TextIOWrapper)
    raw = _Descriptor(1)
    # As Python's own stdout, which is on the bare file when it is unbuffered.
    buffer: Any = raw if before.write_through else io.BufferedWriter(raw)
    sys.stdout = io.TextIOWrapper(
        buffer,
        before.encoding,
        errors="surrogateescape",
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )
