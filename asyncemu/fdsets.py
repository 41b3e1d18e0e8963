# SPDX-License-Identifier: GPL-2.0-or-later
"""Sets of file descriptors that clients of a monitor have handed over (add-fd), and the file names that mean them.

/dev/fdset/ID is a copy of that descriptor of the set ID whose access mode is the one that is asked for: a program that
may not open a disk itself is given it so, for reading and for writing. QEMU: monitor_fdset_dup_fd_add().
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import weakref
from collections.abc import Mapping
from typing import Final

from asyncemu.errors import AsyncemuError

PREFIX: Final = "/dev/fdset/"

#: Descriptors in all sets of a machine. Arbitrary: a client that hands over more has lost count.
MAX_DESCRIPTORS: Final = 256

_lock: Final = threading.Lock()
_machines: Final[weakref.WeakSet[Fdsets]] = weakref.WeakSet()


class Fdsets:
    """One machine's sets, by their numbers. Any thread: files are opened by workers."""

    def __init__(self) -> None:
        self._sets: dict[int, dict[int, str | None]] = {}
        with _lock:
            _machines.add(self)

    def add(self, fd: int, id: int | None, opaque: str | None) -> int:
        """Own ``fd`` in the set ``id`` (None: a new one); the set's number.

        Raises AsyncemuError in QEMU's words, and has closed ``fd`` then.
        """
        problem = ""
        with _lock:
            if id is not None and id < 0:
                problem = "Parameter 'fdset-id' expects a non-negative value"
            elif sum(map(len, self._sets.values())) >= MAX_DESCRIPTORS:
                problem = f"{MAX_DESCRIPTORS} file descriptors are kept already"
            else:
                number = id if id is not None else _first_free(self._sets)
                self._sets.setdefault(number, {})[fd] = opaque
                return number
        os.close(fd)
        raise AsyncemuError(problem)

    def remove(self, id: int, fd: int | None = None) -> None:
        """Close the descriptor ``fd`` of a set, or all of them. Copies stay open. Raises AsyncemuError."""
        with _lock:
            fdset = self._sets.get(id)
            if fdset is None or (fd is not None and fd not in fdset):
                name = f"fdset-id:{id}" + (f", fd:{fd}" if fd is not None else "")
                raise AsyncemuError(f"File descriptor named '{name}' not found")
            for each in [fd] if fd is not None else list(fdset):
                del fdset[each]
                os.close(each)
            if not fdset:
                del self._sets[id]

    def listed(self) -> dict[int, dict[int, str | None]]:
        """What is in each set, with what the client says of it."""
        with _lock:
            return {id: dict(fdset) for id, fdset in self._sets.items()}

    def close(self) -> None:
        """Close all of them."""
        for id in self.listed():
            self.remove(id)

    def descriptors(self, id: int) -> Mapping[int, str | None] | None:
        """Those of a set, for who holds the lock; None: there is no such set."""
        return self._sets.get(id)


def open_copy(filename: str, flags: int) -> int:
    """A descriptor of its own for ``filename``, which begins with PREFIX. Raises OSError: ENOENT, EACCES."""
    number = filename.removeprefix(PREFIX)
    if number.isascii() and number.isdecimal() and len(number) < 20:
        with _lock:
            found = [fdset for each in _machines if (fdset := each.descriptors(int(number))) is not None]
            for fd in (fd for fdset in found for fd in fdset):
                if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == flags & os.O_ACCMODE:
                    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
            if found:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), filename)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), filename)


def _first_free(sets: Mapping[int, object]) -> int:
    return next(number for number in range(len(sets) + 1) if number not in sets)
