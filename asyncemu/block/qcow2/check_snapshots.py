# SPDX-License-Identifier: GPL-2.0-or-later
"""The snapshot table in a check: read it, leniently when it is to be repaired, and write a right one.

An image that is opened to be checked has not read it. QEMU: qcow2_check_read_snapshot_table,
qcow2_check_fix_snapshot_table.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

from asyncemu.block.qcow2.check_counts import ReferenceCounts
from asyncemu.block.qcow2.check_report import CheckStopped, Report
from asyncemu.block.qcow2.constants import MAX_OFFSET, MAX_SNAPSHOT_TABLE_SIZE, MAX_SNAPSHOTS
from asyncemu.block.qcow2.errors import BadImage
from asyncemu.block.qcow2.header import SNAPSHOT_FIELDS_OFFSET
from asyncemu.block.qcow2.snapshot_table import (
    ENTRY_HEAD,
    MAX_EXTRA_DATA,
    SnapshotTable,
    parse_snapshot,
    read_snapshot_table,
)
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Bytes of extra data that entries of a version 3 image have at least: vm_state_size and disk_size.
_LEAST_EXTRA_DATA = 16
#: Bytes read ahead (arbitrary: some hundred entries).
_AT_ONCE = 64 << 10


async def check_snapshot_table(image: Image, report: Report) -> None:
    """Read it into ``image.snapshots``. Raises CheckStopped: it can't be."""
    header = image.header
    image.snapshots = SnapshotTable()
    offset, count, dropped = header.snapshots_offset, header.nb_snapshots, 0
    if count > MAX_SNAPSHOTS and report.fix_errors:
        dropped = count - MAX_SNAPSHOTS
        report.say(f"Discarding {dropped} overhanging snapshots")
        count = MAX_SNAPSHOTS
    _check_place(image, report, offset, count)
    try:
        if report.fix_errors:
            table, shortened = await _read_leniently(image, report, offset, count)
        else:
            table, shortened = await read_snapshot_table(image.file.pread, offset, count), 0
    except BadImage as error:
        report.error(f"ERROR failed to read the snapshot table: {error.problem}")
        what = "this extra metadata" if "extra metadata" in error.problem else f"all {count} overhanging snapshots"
        report.say(f"You can force-remove {what} with qemu-img check -r all")
        raise CheckStopped(errno.EFBIG) from error
    except (OSError, BlockError) as error:
        number = error.errno or errno.EIO
        text = f"Failed to read snapshot table: {os.strerror(number)}"
        report.error(f"ERROR failed to read the snapshot table: {text}")
        raise CheckStopped(number) from error
    dropped += count - len(table.snapshots)
    report.counts.corruptions += dropped + shortened
    image.snapshots = table
    if dropped:
        await _write_count(image, report, len(table.snapshots))
        report.fixed(dropped)
    if image.geometry.version >= 3:
        for number, snapshot in enumerate(table.snapshots):
            if snapshot.extra_data_size < _LEAST_EXTRA_DATA:
                report.corruption(f"{report.verb} snapshot table entry {number} is incomplete")


def _check_place(image: Image, report: Report, offset: int, count: int) -> None:
    """QEMU: qcow2_validate_table."""
    length = count * ENTRY_HEAD
    if count > MAX_SNAPSHOTS:
        report.error("ERROR snapshot table too large")
        over = count - MAX_SNAPSHOTS
        report.say(f"You can force-remove all {over} overhanging snapshots with qemu-img check -r all")
        raise CheckStopped(errno.EFBIG)
    if offset > MAX_OFFSET - length or offset & image.geometry.cluster_mask:
        report.error("ERROR snapshot table offset invalid")
        raise CheckStopped(errno.EINVAL)


class _Window:
    """Reads ahead: entries are small, and a header may claim MAX_SNAPSHOTS of them."""

    def __init__(self, image: Image) -> None:
        self._file = image.file
        self._start = 0
        self._data = bytearray()

    async def read(self, offset: int, length: int) -> bytearray:
        """``length`` bytes; those past the end of the file are zero."""
        at = offset - self._start
        if not 0 <= at <= len(self._data) - length:
            self._start, at = offset, 0
            self._data = await self._file.pread(offset, max(length, _AT_ONCE))
        return self._data[at : at + length]


async def _read_leniently(image: Image, report: Report, offset: int, count: int) -> tuple[SnapshotTable, int]:
    """The table without what makes it too large, and how many entries have been shortened."""
    table = SnapshotTable(offset if count else 0)
    read, position, stored, shortened = _Window(image).read, offset, 0, 0
    while len(table.snapshots) < count:
        number, start = len(table.snapshots), position
        head = bytearray(await read(position, ENTRY_HEAD))
        id_size, name_size = struct.unpack_from(">HH", head, 12)
        (extra_size,) = struct.unpack_from(">I", head, 36)
        kept = min(extra_size, MAX_EXTRA_DATA)
        extra = await read(position + ENTRY_HEAD, kept)
        texts = await read(position + ENTRY_HEAD + extra_size, id_size + name_size)
        position += ENTRY_HEAD + extra_size + id_size + name_size
        stored += ENTRY_HEAD + kept + id_size + name_size
        if kept < extra_size:
            report.say(
                f"Discarding too much extra metadata in snapshot table entry {number} ({extra_size} > {MAX_EXTRA_DATA})"
            )
            shortened += 1
        if stored > MAX_SNAPSHOT_TABLE_SIZE or position - offset > 0x7FFF_FFFF:
            over = count - number
            report.say(f"Discarding {over} overhanging snapshots (snapshot table is too big)")
            break
        struct.pack_into(">I", head, 36, kept)
        parsed = parse_snapshot(bytes(head + extra + texts), start, number, 0)
        assert parsed is not None
        table.snapshots.append(parsed[0])
        table.size = position - offset
        position += -position % 8
        stored += -stored % 8
    table.uncertain = bool(shortened)
    return table, shortened


def trim_snapshot_table(table: SnapshotTable, counts: ReferenceCounts) -> None:
    """A table of uncertain size ends with the file, and where other tables' clusters begin.

    QEMU counts all that it claims, and then refuses to write the right table over it.
    """
    size = counts.geometry.cluster_size
    end = table.offset + size
    last = min(table.offset + table.size, counts.file_size)
    while end < last and not counts.get(end >> counts.geometry.cluster_bits):
        end += size
    table.size = min(table.size, end - table.offset)


async def _write_count(image: Image, report: Report, count: int) -> None:
    """The check relies on that the header says what has been read; what is cut off is leaked until it has run."""
    try:
        await image.file.pwrite_sync(SNAPSHOT_FIELDS_OFFSET, struct.pack(">I", count))
    except (OSError, BlockError) as error:
        number = error.errno or errno.EIO
        report.error(f"ERROR failed to update the snapshot count in the image header: {os.strerror(number)}")
        raise CheckStopped(number) from error
    image.set_header(nb_snapshots=count)


async def repair_snapshot_table(image: Image, report: Report) -> None:
    """Write it anew when it was damaged. The image's lock is held, and its refcounts are right."""
    from asyncemu.block.qcow2.snapshots import write_snapshot_table

    if not (report.counts.corruptions and report.fix_errors):
        return
    try:
        await write_snapshot_table(image, image.snapshots.snapshots)
    except (OSError, BlockError) as error:
        number = error.errno or errno.EIO
        report.error(f"ERROR failed to update snapshot table: {os.strerror(number)}")
        raise CheckStopped(number) from error
    report.fixed(report.counts.corruptions)
