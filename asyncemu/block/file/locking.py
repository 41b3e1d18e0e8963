# SPDX-License-Identifier: GPL-2.0-or-later
"""Image locks that QEMU understands and takes itself, so that two writers never meet.

Theory of operation. Who uses an image says what it does with it (permissions) and what it does not want others to do
(permissions not shared): PERM_* of flags.py. Each permission is a bit number; a *shared* lock on byte 100 + bit says
"I do that", one on byte 200 + bit says "nobody else may". Locks are shared, so that many may say the same; to look for
a conflict one asks the kernel whether an *exclusive* lock would be possible there. First all locks are taken, then
conflicts are looked for: of two that come at the same time at least one sees the other.

Open-file-description locks (fcntl(2), F_OFD_SETLK): they belong to the open file; two opens in one process conflict.
QEMU's docs/interop and its blockdev option ``locking`` describe the user's side.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from typing import Final

from asyncemu.block.flags import PERM_ALL, PERMISSION_NAMES
from asyncemu.errors import ConfigError

_DOES: Final = 100
_FORBIDS: Final = 200

#: struct flock with 64-bit offsets: type, whence, start, length, pid (0 for OFD locks).
_flock: Final = struct.Struct("@hhqqi4x")

#: What a file system says that has no such locks.
_UNSUPPORTED: Final = (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


class ImageLocks:
    """The locks of one open file, which go with it. Changes are prepared, then committed or aborted."""

    def __init__(self, fd: int, filename: str, where: str, *, required: bool) -> None:
        """``where`` is for messages. ``required``: a file system without locks is an error, else nothing is locked."""
        self.fd = fd
        self._where = where
        self._filename = filename
        self._required = required
        self._unsupported = False
        #: Agreed: what we do, and what we leave to others.
        self._permissions = 0
        self._shared = PERM_ALL
        #: Bytes that are locked.
        self._held: set[int] = set()

    def prepare(self, permissions: int, shared: int) -> None:
        """Lock what is to be, beside what is; ``commit`` or ``abort`` follows. ConfigError: others are in the way."""
        if not (permissions & ~self._permissions or self._shared & ~shared):
            return  # less than before: no conflict can come of it
        try:
            self._take(_bytes(self._permissions | permissions, self._shared & shared))
            self._check(permissions, shared)
        except BaseException:
            self.abort()
            raise

    def commit(self, permissions: int, shared: int) -> None:
        """What was prepared (or is less than what was) holds from now on."""
        self._permissions, self._shared = permissions, shared
        self.abort()

    def abort(self) -> None:
        """Back to what was committed last."""
        for byte in self._held - _bytes(self._permissions, self._shared):
            self._set(byte, fcntl.F_UNLCK)
            self._held.discard(byte)

    def release(self) -> None:
        """Hold nothing any more."""
        self.commit(0, PERM_ALL)

    def copy_to(self, fd: int, permissions: int, shared: int) -> ImageLocks:
        """The same permissions for another open file of the image, while this one has them. ConfigError."""
        copy = ImageLocks(fd, self._filename, self._where, required=self._required)
        copy._unsupported = self._unsupported
        copy._take(_bytes(permissions, shared))
        copy._permissions, copy._shared = permissions, shared
        return copy

    # ---- private

    def _take(self, wanted: set[int]) -> None:
        if self._unsupported:
            return
        for byte in sorted(wanted - self._held):
            try:
                self._set(byte, fcntl.F_RDLCK)
            except (BlockingIOError, PermissionError):
                # Somebody holds an exclusive lock: not QEMU's way, but a conflict.
                raise self._refused(f"Failed to lock byte {byte}") from None
            except OSError as error:
                if self._required or error.errno not in _UNSUPPORTED:
                    raise ConfigError(self._where, f"Failed to lock byte {byte}: {error.strerror}") from error
                self._unsupported = True
                return
            self._held.add(byte)

    def _check(self, permissions: int, shared: int) -> None:
        if self._unsupported:
            return
        for bit, (permission, name) in enumerate(_BITS):
            if permissions & permission and self._locked_by_another(_FORBIDS + bit):
                raise self._refused(f'Failed to get "{name}" lock')
        for bit, (permission, name) in enumerate(_BITS):
            if not shared & permission and self._locked_by_another(_DOES + bit):
                raise self._refused(f'Failed to get shared "{name}" lock')

    def _refused(self, problem: str) -> ConfigError:
        return ConfigError(self._where, problem, f"Is another process using the image [{self._filename}]?")

    def _set(self, byte: int, kind: int) -> None:
        fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, _flock.pack(kind, os.SEEK_SET, byte, 1, 0))

    def _locked_by_another(self, byte: int) -> bool:
        question = _flock.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        answer = fcntl.fcntl(self.fd, fcntl.F_OFD_GETLK, question)
        return int(_flock.unpack(answer)[0]) != fcntl.F_UNLCK


#: Permissions and their names by their bit numbers, which are QEMU's.
_BITS: Final = tuple((permission, name) for permission, name in sorted(PERMISSION_NAMES.items()))


def _bytes(permissions: int, shared: int) -> set[int]:
    """The lock bytes that say so."""
    does = {_DOES + bit for bit, (permission, _) in enumerate(_BITS) if permissions & permission}
    return does | {_FORBIDS + bit for bit, (permission, _) in enumerate(_BITS) if not shared & permission}
