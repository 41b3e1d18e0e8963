# SPDX-License-Identifier: GPL-2.0-or-later
"""Opening files and devices of the host. The problems of ConfigErrors are in QEMU's words, which scripts know."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from asyncemu.block.file.locking import ImageLocks
from asyncemu.errors import ConfigError

#: Told st_mode, raises ConfigError when that is not to be opened.
ModeCheck = Callable[[int], None]


class OpenFile:
    """A file that is open in some way, with the locks that it holds."""

    __slots__ = ("direct", "fd", "locks", "writable")

    def __init__(self, fd: int, *, writable: bool, direct: bool, locks: ImageLocks | None = None) -> None:
        self.fd = fd
        self.writable = writable
        #: O_DIRECT.
        self.direct = direct
        #: None: ``locking = off``.
        self.locks = locks

    def close(self) -> None:
        """Its locks go with it."""
        os.close(self.fd)

    def become(self, other: OpenFile) -> None:
        """Be what ``other`` is, which is closed, under the number that is known for this one.

        The number stays because requests may be on their way with it (in the line of a worker pool, say).
        """
        if self.locks is not None:
            # What is still on its way keeps the old file open, and its locks with it.
            self.locks.release()
        os.dup2(other.fd, self.fd, inheritable=False)
        os.close(other.fd)
        self.writable, self.direct, self.locks = other.writable, other.direct, other.locks
        if self.locks is not None:
            self.locks.fd = self.fd


def open_file(filename: str, check: ModeCheck, *, writable: bool, direct: bool) -> OpenFile:
    """Open what is called ``filename``, when ``check`` does not mind. ConfigError (``filename``, ``cache.direct``)."""
    try:
        if filename.startswith("/dev/fdset/"):
            return _open_handed_over(filename, check, writable=writable)
        # Looked at first: to open a FIFO or a tape is to wait or to act.
        check(os.stat(filename).st_mode)  # noqa: PTH116  # a Path would spell it otherwise
        return _open(filename, writable=writable, direct=direct)
    except OSError as error:
        raise _refused(filename, error, writable=writable, direct=direct) from error


def open_again(file: OpenFile, filename: str, *, writable: bool, direct: bool) -> OpenFile:
    """Open the same file in another way; without locks. ``filename`` is for messages, and where there is no /proc."""
    try:
        try:
            # Not by its name: that may be another file's by now, or nobody's.
            return _open(f"/proc/self/fd/{file.fd}", writable=writable, direct=direct)
        except FileNotFoundError:
            return _open(filename, writable=writable, direct=direct)
    except OSError as error:
        raise _refused(filename, error, writable=writable, direct=direct) from error


def may_write(filename: str) -> bool:
    """Would the host let us write to it?"""
    return os.access(filename, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def no_direct_io() -> ConfigError:
    """The file system (or device) offers no O_DIRECT with an alignment that we know."""
    return ConfigError("cache.direct", "Could not find working O_DIRECT alignment", "Try cache.direct=off")


def _open(filename: str, *, writable: bool, direct: bool) -> OpenFile:
    flags = os.O_CLOEXEC | (os.O_RDWR if writable else os.O_RDONLY) | (os.O_DIRECT if direct else 0)
    return OpenFile(os.open(filename, flags), writable=writable, direct=direct)


def _open_handed_over(filename: str, check: ModeCheck, *, writable: bool) -> OpenFile:
    # Imported when they are needed: the tools start without them.
    import fcntl

    from asyncemu.fdsets import open_copy

    fd = open_copy(filename, os.O_RDWR if writable else os.O_RDONLY)
    # Whether it is direct was said by who opened it.
    file = OpenFile(fd, writable=writable, direct=bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_DIRECT))
    try:
        check(os.fstat(file.fd).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def _refused(filename: str, error: OSError, *, writable: bool, direct: bool) -> ConfigError:
    problem = f"Could not open '{filename}': {error.strerror}"
    match error.errno:
        case errno.ENOENT:
            return ConfigError("filename", problem, f"create it, for example with: truncate -s 1G {filename}")
        case errno.EACCES | errno.EPERM | errno.EROFS | errno.ETXTBSY if writable:
            return ConfigError("filename", problem, "set read-only = true if it is only to be read")
        case errno.EINVAL if direct:
            where = f"Could not open '{filename}': filesystem does not support O_DIRECT"
            return ConfigError("cache.direct", where, "leave the key out")
        case _:
            return ConfigError("filename", problem)
