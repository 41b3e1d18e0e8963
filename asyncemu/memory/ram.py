# SPDX-License-Identifier: GPL-2.0-or-later
"""GuestRam: memory of a machine in a memfd, so that other processes and the vCPUs can map the same pages."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Final

from asyncemu.errors import ConfigError

PAGE_SIZE: Final = 4096


class GuestRam:
    """``size`` bytes of zeroes. Any thread may use ``view``; Python code touches it under the GIL, the guest does not.

    Raises ConfigError when the host has not got the memory.
    """

    def __init__(self, size: int, where: str = "machine.memory") -> None:
        if size <= 0 or size % PAGE_SIZE:
            raise ConfigError(where, f"{size} bytes", f"give a multiple of {PAGE_SIZE} bytes")
        self.size = size
        self.fd = -1
        try:
            self.fd = os.memfd_create("asyncemu-ram", os.MFD_CLOEXEC)
            os.ftruncate(self.fd, size)
            self._mapping = mmap.mmap(self.fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        except (OSError, ValueError, OverflowError) as error:
            self.close()
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise ConfigError(where, f"the host has not got {size} bytes ({reason})", "ask for less") from error
        self.view: memoryview = memoryview(self._mapping)
        #: The host address of the first byte, for back ends that map it.
        self.address: int = ctypes.addressof(ctypes.c_char.from_buffer(self._mapping))

    def load(self, offset: int, data: bytes | memoryview) -> None:
        """Copy ``data`` to ``offset`` bytes into RAM, without the GIL: for what is large. ValueError past the end."""
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"{len(data)} bytes at {offset} in {self.size} bytes of RAM")
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self.fd, rest, offset)
            offset += written
            rest = rest[written:]

    def clear(self) -> None:
        """Back to zeroes, and the pages back to the host: what power-on looks like.

        Everybody who has mapped the memfd sees the zeroes. It punches a hole rather than make the file short and long
        again, between which an access from another thread would be a SIGBUS.
        """
        self._mapping.madvise(mmap.MADV_REMOVE)

    def close(self) -> None:
        """Close the descriptor. The mapping lives as long as views of it do."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
