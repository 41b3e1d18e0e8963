# SPDX-License-Identifier: GPL-2.0-or-later
"""A file of the user's, and how its errors are told."""

from __future__ import annotations

import mmap
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from asyncemu.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Source:
    """Bytes to be loaded, and where they come from.

    ``data`` lies over a mapping of the file or over what was unpacked from it; a slice of it keeps both alive.
    ``where`` is the TOML path that named the file.
    """

    where: str
    path: Path
    data: memoryview

    def error(self, problem: str, remedy: str = "") -> ConfigError:
        """The error to raise: one line, whatever characters the path is made of."""
        return ConfigError(self.where, f"{shown(self.path)}: {problem}", remedy)

    def truncated(self, needed: int, what: str) -> ConfigError:
        """``what`` reaches up to byte ``needed``, and the data do not."""
        return self.error(
            f"truncated: ends at byte {len(self.data)}, its {what} at byte {needed}", "copy or download the file again"
        )


def shown(path: Path) -> str:
    """A path for a one-line message: line breaks and undecodable bytes are escaped."""
    text = str(path)
    return text if text.isprintable() else ascii(text)


def open_source(path: Path, where: str) -> Source:
    """Map a file for reading; its pages are read when they are used, so that a kernel of 40 MB is not copied twice.

    Raises ConfigError if there is no such file, it may not be read, is not a regular file, or is empty. The file must
    keep its size while the data are in use, as with any mapping.
    """
    source = Source(where, path, memoryview(b""))
    try:
        # O_NONBLOCK: opening a FIFO that nobody writes to would wait forever.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise source.error(_reason(error), "give the path of a file that can be read") from error
    except ValueError as error:  # a NUL in the path
        raise source.error("no file has such a name", "give the path of a file that can be read") from error
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            kind = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
            raise source.error(f"is {kind}", "give the path of a file")
        mapping = mmap.mmap(fd, 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise source.error(_reason(error), "give the path of a file that can be read") from error
    except ValueError as error:  # nothing to map
        raise source.error("is empty", "copy or download the file again") from error
    finally:
        os.close(fd)
    return Source(where, path, memoryview(mapping))


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def load_blob(path: Path, where: str) -> memoryview:
    """The bytes of a file that goes into guest RAM as it is (initrd, firmware), mapped, not read.

    Raises ConfigError as ``open_source`` does.
    """
    return open_source(path, where).data
