# SPDX-License-Identifier: GPL-2.0-or-later
"""Another size for a regular file, with storage for what is new. Blocking: for a worker thread.

Preallocation as QEMU's: ``falloc`` reserves the storage (posix_fallocate(3)), ``full`` writes zeroes. The problems are
in the words of qemu-img.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from asyncemu.block.types import Preallocation
from asyncemu.errors import BlockError, ConfigError

#: Bytes of one write of zeroes: large enough to be quick.
_PIECE: Final = 1 << 20

#: The largest block that direct I/O may insist on.
_MAX_BLOCK: Final = 4096


class ResizeError(BlockError):
    """The host has refused; ``problem`` is what qemu-img would say."""

    def __init__(self, name: str, errno: int, doing: str) -> None:
        super().__init__(name, errno, doing)
        self.problem = f"{doing}: {os.strerror(errno)}"


def resize(name: str, fd: int, size: int, preallocation: Preallocation) -> int:
    """Make the file ``size`` bytes; that. On an error it is as long as before. ResizeError, ConfigError."""
    with _doing(name, "Could not stat file"):
        before = os.fstat(fd).st_size
    if before > size and preallocation != "off":
        raise ConfigError("preallocation", "Cannot use preallocation for shrinking files")
    match preallocation:
        case "off":
            with _doing(name, "Could not resize file"):
                os.ftruncate(fd, size)
        case "falloc" | "full":
            try:
                (_reserve if preallocation == "falloc" else _write_zeroes)(name, fd, before, size)
            except ResizeError:
                os.ftruncate(fd, before)
                raise
        case _:
            raise ConfigError("preallocation", f"Unsupported preallocation mode: {preallocation}")
    if not before and size and preallocation != "full":
        _allocate_first_block(fd, size)
    return size


def _reserve(name: str, fd: int, before: int, size: int) -> None:
    if size > before:
        with _doing(name, "Could not preallocate new data"):
            os.posix_fallocate(fd, before, size - before)


def _write_zeroes(name: str, fd: int, before: int, size: int) -> None:
    with _doing(name, "Could not resize file"):
        os.ftruncate(fd, size)
    zeroes = _zeroes(_PIECE)
    while before < size:
        # Up to a multiple of the piece: direct I/O may want it, and file systems like it.
        stop = min(size, (before // _PIECE + 1) * _PIECE)
        with _doing(name, "Could not write zeros for preallocation"):
            before += os.pwrite(fd, zeroes[: stop - before], before)
    with _doing(name, "Could not flush file to disk"):
        os.fsync(fd)


def _allocate_first_block(fd: int, size: int) -> None:
    """Data to read: a file without any takes direct reads of any length on some file systems, and tells nothing."""
    zeroes = _zeroes(min(size, 512) if size < _MAX_BLOCK else _MAX_BLOCK)
    try:
        os.pwrite(fd, zeroes, 0)
    except OSError:
        pass  # it would have been good to have, no more


def _zeroes(length: int) -> memoryview:
    """Page-aligned, for files that are open for direct I/O."""
    return memoryview(mmap.mmap(-1, length))


@contextmanager
def _doing(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResizeError(name, error.errno or errno.EIO, what) from error
