# SPDX-License-Identifier: GPL-2.0-or-later
"""ringbuf: the last bytes of the output, in memory, for the monitor to read (QMP: ringbuf-read, ringbuf-write)."""

from __future__ import annotations

from typing import Final

from pydantic import Field, field_validator

from asyncemu.chardev.chardev import Chardev, ChardevOptions
from asyncemu.loop import AioContext, home
from asyncemu.size import Size

#: QEMU's.
DEFAULT_SIZE: Final = 64 * 1024

#: A bound against slips of the pen. Arbitrary.
MAX_SIZE: Final = 1 << 30


class RingbufOptions(ChardevOptions):
    """Keys of ``backend = "ringbuf"``."""

    size: Size = Field(default=DEFAULT_SIZE, gt=0, le=MAX_SIZE, description="Bytes that it holds, a power of two.")

    @field_validator("size")
    @classmethod
    def _power_of_two(cls, size: int) -> int:
        if size & (size - 1):
            raise ValueError("size of ringbuf chardev must be power of two")
        return size


class Ringbuf(Chardev[RingbufOptions], name="ringbuf"):
    """Output, and what the monitor writes, pushes out the oldest; the front end gets no input."""

    description = "The last bytes of the output, for the monitor's ringbuf-read."

    def __init__(self, options: RingbufOptions, id: str, context: AioContext) -> None:
        super().__init__(options, id, context)
        self._held = bytearray()

    @home
    def put(self, data: bytes) -> None:
        """Behind what is there."""
        self._held += data[-self.options.size :]
        del self._held[: -self.options.size]

    @home
    def take(self, limit: int) -> bytes:
        """The oldest bytes, up to ``limit``."""
        taken = bytes(self._held[:limit])
        del self._held[:limit]
        return taken

    @property
    def filename(self) -> str:
        """As query-chardev shows it in QEMU, by either name."""
        return "ringbuf"

    def transmit(self, data: bytes) -> int:
        self.put(data)
        return len(data)


class Memory(Ringbuf, name="memory"):
    """QEMU's other name for it."""
