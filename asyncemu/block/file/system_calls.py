# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls that Python has no functions for, by ctypes.

ctypes takes milliseconds to import: import this module where a call is made. Any thread; blocking.
"""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

_AT_EMPTY_PATH: Final = 0x1000

#: Bytes of struct statx (statx(2)).
STATX_SIZE: Final = 256

#: More bytes than struct statfs has anywhere.
_STATFS_SIZE: Final = 256

_libc: Final = ctypes.CDLL(None, use_errno=True)
_fallocate: Final = _libc.fallocate
_fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def fallocate(fd: int, mode: int, offset: int, length: int) -> None:
    """fallocate(2); bytes. OSError."""
    if _fallocate(fd, mode, offset, length) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def file_system_type(fd: int) -> int:
    """``f_type`` of fstatfs(2); 0: it can't be found out."""
    answer = (ctypes.c_char * _STATFS_SIZE)()
    if _libc.fstatfs(fd, answer) < 0:
        return 0
    # struct statfs begins with f_type, a word of the machine.
    found: int = struct.unpack_from("@l", answer)[0] & 0xFFFFFFFF
    return found


def statx(fd: int, mask: int) -> bytes:
    """struct statx of an open file; zeroes, ``stx_mask`` too: it can't be found out."""
    answer = (ctypes.c_char * STATX_SIZE)()
    if not hasattr(_libc, "statx") or _libc.statx(fd, b"", _AT_EMPTY_PATH, mask, answer) < 0:
        return bytes(STATX_SIZE)
    return answer.raw
