# SPDX-License-Identifier: GPL-2.0-or-later
"""Image locks that QEMU understands and takes itself, so that two writers never meet.

Theory of operation. Who opens an image says what it does with it (permissions) and what it does not want others to do
(permissions not shared). Each permission is a bit number; a *shared* lock on byte 100 + bit says "I do that", one on
byte 200 + bit says "nobody else may". Locks are shared, so that many may say the same; to look for a conflict one asks
the kernel whether an *exclusive* lock would be possible there. First all locks are taken, then conflicts are looked
for: of two that open at the same time at least one sees the other.

Open-file-description locks (fcntl(2), F_OFD_SETLK): they belong to the open file; two opens in one process conflict.
QEMU's docs/interop and its blockdev option ``locking`` describe the user's side.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

# The permissions of QEMU's block layer, as bit numbers.
CONSISTENT_READ: Final = 0
WRITE: Final = 1
RESIZE: Final = 3

_DOES: Final = 100
_FORBIDS: Final = 200

#: struct flock with 64-bit offsets: type, whence, start, length, pid (0 for OFD locks).
_flock: Final = struct.Struct("@hhqqi4x")

#: What a file system says that has no such locks.
_UNSUPPORTED: Final = (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class LockedElsewhere(Exception):
    """Somebody else has the image open in a way that does not go with ours."""


class LockingUnsupported(Exception):
    """The file system has no locks."""


def lock_image(fd: int, *, read_only: bool) -> None:
    """Lock the open file until it is closed. Raises LockedElsewhere, LockingUnsupported or OSError; then close it."""
    does = [CONSISTENT_READ] if read_only else [CONSISTENT_READ, WRITE, RESIZE]
    forbids = [WRITE, RESIZE]
    try:
        for byte in [_DOES + bit for bit in does] + [_FORBIDS + bit for bit in forbids]:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
        for byte in [_FORBIDS + bit for bit in does] + [_DOES + bit for bit in forbids]:
            if _locked_by_another(fd, byte):
                raise LockedElsewhere
    except BlockingIOError:
        # Somebody holds an exclusive lock: not QEMU's way, but a conflict.
        raise LockedElsewhere from None
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            raise LockingUnsupported from error
        raise


def _locked_by_another(fd: int, byte: int) -> bool:
    question = _flock.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, question)
    return int(_flock.unpack(answer)[0]) != fcntl.F_UNLCK
