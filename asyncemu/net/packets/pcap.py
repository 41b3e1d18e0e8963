# SPDX-License-Identifier: GPL-2.0-or-later
"""Files of captured frames, as tcpdump and Wireshark read them: pcap 2.4 (draft-ietf-opsawg-pcap, 4 and 5)."""

from __future__ import annotations

import struct
from typing import Final

from asyncemu.net.frame import Frame

# In the order of bytes of the host, as the magic number tells the reader.
_FILE: Final = struct.Struct("=IHHiIII")
_RECORD: Final = struct.Struct("=IIII")

_MICROSECONDS: Final = 0xA1B2C3D4
_NANOSECONDS: Final = 0xA1B23C4D
_VERSION: Final = (2, 4)
_ETHERNET: Final = 1

#: Bytes of a frame that are kept. QEMU: filter-dump's maxlen.
DEFAULT_SNAP_LENGTH: Final = 65536


class PcapFormat:
    """How one file is written. ``snap_length``: bytes of a frame that are kept; time in microseconds, as QEMU does."""

    __slots__ = ("_divisor", "nanoseconds", "snap_length")

    def __init__(self, snap_length: int = DEFAULT_SNAP_LENGTH, nanoseconds: bool = False) -> None:
        self.snap_length = snap_length
        self.nanoseconds = nanoseconds
        self._divisor = 1 if nanoseconds else 1000

    def header(self) -> bytes:
        """What the file begins with."""
        magic = _NANOSECONDS if self.nanoseconds else _MICROSECONDS
        return _FILE.pack(magic, *_VERSION, 0, 0, self.snap_length, _ETHERNET)

    def record(self, when: int, frame: Frame) -> bytes:
        """One frame, captured at ``when`` (nanoseconds since 1970, UTC), with a copy of its bytes."""
        data = frame.head(self.snap_length)
        seconds, rest = divmod(when, 1_000_000_000)
        # 32 bits of seconds last until 2106.
        return _RECORD.pack(seconds & 0xFFFFFFFF, rest // self._divisor, len(data), frame.nbytes) + data
