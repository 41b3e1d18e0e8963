# SPDX-License-Identifier: GPL-2.0-or-later
"""A file that another process uses."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Bytes of a file that QEMU locks: what a process does (100 on), and what it does not let others do (200 on), by bits
#: of permissions. QEMU: RAW_LOCK_PERM_BASE, RAW_LOCK_SHARED_BASE.
_DOES, _UNSHARES = 100, 200

_READ, _WRITE, _RESIZE = 0, 1, 3


@contextmanager
def held(path: Path) -> Iterator[None]:
    """As by a QEMU that writes to an image of a format: locks of an open file description, which are nobody else's."""
    fd = os.open(path, os.O_RDONLY)
    try:
        for byte in (_DOES + _READ, _DOES + _WRITE, _DOES + _RESIZE, _UNSHARES + _WRITE, _UNSHARES + _RESIZE):
            # struct flock: l_type, l_whence, l_start, l_len, l_pid
            lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        yield
    finally:
        os.close(fd)
