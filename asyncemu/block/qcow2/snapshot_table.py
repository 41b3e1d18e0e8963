# SPDX-License-Identifier: GPL-2.0-or-later
"""SnapshotTable: the directory of internal snapshots, as checked values.

qcow2.txt, "Snapshots". Entries have variable length: the table is read piece by piece, up to QEMU's limits.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from asyncemu.block.qcow2.constants import MAX_SNAPSHOT_TABLE_SIZE
from asyncemu.block.qcow2.errors import BadImage

_fixed: Final = struct.Struct(">QIHHIIQII")
_extra: Final = struct.Struct(">QQQ")

#: Bytes of an entry less extra data, id and name.
ENTRY_HEAD: Final = _fixed.size

#: Bytes of extra data of an entry. QEMU: QCOW_MAX_SNAPSHOT_EXTRA_DATA.
MAX_EXTRA_DATA: Final = 1024

#: Bytes of one read.
_PIECE: Final = 64 << 10

Read = Callable[[int, int], Coroutine[Any, Any, bytes | bytearray]]


class Snapshot(NamedTuple):
    """One entry, under the spec's names; sizes and offsets in bytes."""

    l1_table_offset: int
    #: Entries.
    l1_size: int
    id: str
    name: str
    date_seconds: int
    date_nanoseconds: int
    vm_clock_ns: int
    vm_state_size: int
    #: 0: not recorded.
    disk_size: int = 0
    #: Instructions executed; -1: not recorded.
    icount: int = -1
    #: How much extra data the entry has, and what of it is not known here.
    extra_data_size: int = _extra.size
    unknown_extra_data: bytes = b""


def parse_snapshot(data: bytes, offset: int, number: int, position: int) -> tuple[Snapshot, int] | None:
    """Entry ``number`` at ``position`` of ``data``, and where the next one begins; None: ``data`` is too short.

    ``offset`` is where ``data`` begins in the file. Raises BadImage.
    """
    if position + _fixed.size > len(data):
        return None
    (l1_offset, l1_size, id_size, name_size, seconds, nanoseconds, clock, vm_size, extra_size) = _fixed.unpack_from(
        data, position
    )
    if extra_size > MAX_EXTRA_DATA:
        raise BadImage(offset + position, f"Too much extra metadata in snapshot table entry {number}")
    extra_at = position + _fixed.size
    id_at = extra_at + extra_size
    name_at = id_at + id_size
    end = name_at + name_size
    if end > len(data):
        return None
    # Fields that are not there are zero; only ``disk_size`` and ``icount`` tell that from being zero.
    extra = data[extra_at:id_at]
    large_vm_size, disk_size, icount = _extra.unpack(extra[: _extra.size].ljust(_extra.size, b"\0"))
    snapshot = Snapshot(
        l1_table_offset=l1_offset,
        l1_size=l1_size,
        id=_text(data[id_at:name_at]),
        name=_text(data[name_at:end]),
        date_seconds=seconds,
        date_nanoseconds=nanoseconds,
        vm_clock_ns=clock,
        vm_state_size=large_vm_size if extra_size >= 8 else vm_size,
        disk_size=disk_size if extra_size >= 16 else 0,
        icount=_signed(icount) if extra_size >= _extra.size else -1,
        extra_data_size=extra_size,
        unknown_extra_data=bytes(extra[_extra.size :]),
    )
    return snapshot, end + -end % 8


def snapshot_bytes(snapshot: Snapshot) -> bytes:
    """The entry as it is stored: with all known fields, whatever it had before."""
    identity, name = _bytes(snapshot.id), _bytes(snapshot.name)
    extra = _extra.pack(snapshot.vm_state_size, snapshot.disk_size, snapshot.icount & (1 << 64) - 1)
    extra += snapshot.unknown_extra_data
    fixed = _fixed.pack(
        snapshot.l1_table_offset,
        snapshot.l1_size,
        len(identity),
        len(name),
        snapshot.date_seconds,
        snapshot.date_nanoseconds,
        snapshot.vm_clock_ns,
        # "If this field (of 64 bits) is present, the 32-bit value is ignored."
        snapshot.vm_state_size if snapshot.vm_state_size <= 0xFFFF_FFFF else 0,
        len(extra),
    )
    data = fixed + extra + identity + name
    return data + bytes(-len(data) % 8)


class SnapshotTable:
    """What is in memory of it."""

    __slots__ = ("offset", "size", "snapshots", "uncertain")

    def __init__(self, offset: int = 0) -> None:
        #: Bytes of the file, and length; 0: none.
        self.offset = offset
        self.size = 0
        #: An entry says that it has more extra data than any has: so ``size`` may be anything.
        self.uncertain = False
        self.snapshots: list[Snapshot] = []


async def read_snapshot_table(read: Read, offset: int, count: int) -> SnapshotTable:
    """``count`` snapshots from ``offset`` on. Raises BadImage, and what ``read`` raises."""
    table = SnapshotTable(offset if count else 0)
    data, start, position = b"", offset, 0
    while len(table.snapshots) < count:
        parsed = parse_snapshot(data, start, len(table.snapshots), position)
        if parsed is None:
            data = data[position:]
            start += position
            position = 0
            if start - offset + len(data) > MAX_SNAPSHOT_TABLE_SIZE:
                raise BadImage(60, "Snapshot table is too big", errno.EFBIG)
            data += await read(start + len(data), _PIECE)
            continue
        snapshot, position = parsed
        table.snapshots.append(snapshot)
        if start - offset + position > MAX_SNAPSHOT_TABLE_SIZE:
            raise BadImage(60, "Snapshot table is too big", errno.EFBIG)
    table.size = start - offset + position
    return table


def _text(data: bytes) -> str:
    # As a string of C: it ends where a NUL is.
    return data.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
