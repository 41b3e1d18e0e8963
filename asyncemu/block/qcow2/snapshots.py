# SPDX-License-Identifier: GPL-2.0-or-later
"""Internal snapshots: take, apply, delete, read from one.

A snapshot is an L1 table of its own and an entry of the snapshot table. On disk, each step comes when what it relies on
is there:

    create   references of all clusters → COPIED is gone → L1 copy → snapshot table → header
    delete   snapshot table → header → references are gone → COPIED is back
    goto     references of the snapshot's clusters → new L1 table → header → references of the old one are gone → COPIED

The image is marked dirty meanwhile (version 3): whoever opens it after a crash counts anew and sets COPIED right.
QEMU: qcow2-snapshot.c, with its messages; it overwrites the active L1 table where this program switches to another one.
The node is drained.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import struct
from array import array
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final

from asyncemu.block.qcow2.constants import ENTRY_SIZE, MAX_L1_SIZE, MAX_OFFSET, MAX_SNAPSHOT_TABLE_SIZE, MAX_SNAPSHOTS
from asyncemu.block.qcow2.discard import discard_clusters
from asyncemu.block.qcow2.entries import COPIED
from asyncemu.block.qcow2.freed import DISCARD_NEVER, DISCARD_SNAPSHOT
from asyncemu.block.qcow2.header import SNAPSHOT_FIELDS_OFFSET
from asyncemu.block.qcow2.l1_table import L1Table
from asyncemu.block.qcow2.resize import truncate
from asyncemu.block.qcow2.snapshot_refcounts import add_references, drop_references, refresh_copied, write_all
from asyncemu.block.qcow2.snapshot_table import Snapshot, SnapshotTable, snapshot_bytes
from asyncemu.block.qcow2.table_budget import check_l2_tables
from asyncemu.block.qcow2.words import words_bytes, words_from, zero_words
from asyncemu.block.types import SnapshotInfo
from asyncemu.errors import BlockError, ConfigError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Extra data that says how large the disk was.
_WITH_DISK_SIZE: Final = 16

#: Bytes of an id or a name.
_MAX_TEXT: Final = 0xFFFF

_leading_digits: Final = re.compile(r"\s*\+?([0-9]+)", re.ASCII)


def snapshot_list(image: Image) -> Sequence[SnapshotInfo]:
    """All snapshots, in the order of the table."""
    return [_info(snapshot) for snapshot in image.snapshots.snapshots]


def _info(snapshot: Snapshot) -> SnapshotInfo:
    return SnapshotInfo(
        id=snapshot.id,
        name=snapshot.name,
        vm_state_size=snapshot.vm_state_size,
        date_seconds=snapshot.date_seconds,
        date_nanoseconds=snapshot.date_nanoseconds,
        vm_clock_ns=snapshot.vm_clock_ns,
        icount=snapshot.icount,
        disk_size=snapshot.disk_size,
    )


# ---- create


async def snapshot_create(image: Image, wanted: SnapshotInfo) -> SnapshotInfo:
    """What has been stored. OSError: EFBIG (too many), ENOTSUP (a data file), EINVAL (refcounts are full).

    BlockError (EFBIG): tables overlap too often; so with the others.
    """
    snapshots = image.snapshots.snapshots
    if len(snapshots) >= MAX_SNAPSHOTS:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    _check_data_file(image)
    if len(wanted.name.encode("utf-8", "surrogateescape")) > _MAX_TEXT:
        raise OSError(errno.EINVAL, "the name is too long")
    check_l2_tables(image, image.l1.entries)
    async with _changing(image):
        entries = image.l1.entries[:]
        offset = await image.refcounts.allocate(len(entries) * ENTRY_SIZE)
        snapshot = Snapshot(
            l1_table_offset=offset,
            l1_size=len(entries),
            id=_new_id(snapshots),
            name=wanted.name,
            date_seconds=wanted.date_seconds,
            date_nanoseconds=wanted.date_nanoseconds,
            vm_clock_ns=wanted.vm_clock_ns,
            vm_state_size=wanted.vm_state_size,
            disk_size=image.header.size,
            icount=wanted.icount,
        )
        counted = array("Q")
        try:
            if entries:
                await image.write_metadata(offset, words_bytes(entries), 0)
            await add_references(image, entries)
            counted = entries
            await refresh_copied(image)
            await write_snapshot_table(image, [*snapshots, snapshot])
        except BaseException:
            await _undo(image, counted, offset, len(entries))
            raise
        # VM state is the snapshot's only: it would be copied when the next one is saved.
        size = image.geometry.round_up(wanted.vm_state_size)
        await discard_clusters(image, image.vm_state_offset, image.vm_state_offset + size, DISCARD_NEVER, full=False)
        await write_all(image)
    return _info(snapshot)


def _new_id(snapshots: Sequence[Snapshot]) -> str:
    """One more than the largest; what does not begin with a number counts as 0."""
    largest = 0
    for snapshot in snapshots:
        found = _leading_digits.match(snapshot.id)
        if found is not None:
            largest = max(largest, min(int(found[1][:20]), (1 << 64) - 1))
    return str((largest + 1) % (1 << 64))


async def _undo(image: Image, counted: array[int], l1_offset: int, l1_entries: int) -> None:
    """It has failed: references of what ``counted`` names are given back, and a new L1 table.

    Unless the header may have been written: then, all stays counted.
    """
    if image.must_stay_dirty:
        return
    image.must_stay_dirty = True
    if counted:
        await drop_references(image, counted)
        await write_all(image)
        await refresh_copied(image)
    if l1_entries:
        await image.refcounts.release(l1_offset, l1_entries * ENTRY_SIZE)
    await write_all(image)
    image.must_stay_dirty = False


# ---- delete


async def snapshot_delete(image: Image, id: str, name: str) -> None:
    """The first that has both, where they are not empty. BlockError (ENOENT): none; ConfigError: it is damaged."""
    _check_data_file(image)
    snapshots = image.snapshots.snapshots
    index = _find(image, id, name)
    snapshot = snapshots[index]
    _check_l1(image, snapshot)
    check_l2_tables(image, image.l1.entries)
    async with _changing(image):
        stored = await _read_stored(image, snapshot, "Failed to free the cluster and L1 table")
        try:
            await write_snapshot_table(image, [*snapshots[:index], *snapshots[index + 1 :]])
        except (OSError, BlockError) as error:
            raise _failed(image, "Failed to remove snapshot from snapshot list", error) from error
        image.must_stay_dirty = True
        try:
            await drop_references(image, stored)
            if snapshot.l1_size:
                image.refcounts.free(snapshot.l1_table_offset, snapshot.l1_size * ENTRY_SIZE, DISCARD_SNAPSHOT)
            await write_all(image)
        except (OSError, BlockError) as error:
            raise _failed(image, "Failed to free the cluster and L1 table", error) from error
        try:
            await refresh_copied(image)
            await write_all(image)
        except (OSError, BlockError) as error:
            raise _failed(image, "Failed to update snapshot status in disk", error) from error
        image.must_stay_dirty = False


# ---- goto


async def snapshot_goto(image: Image, id_or_name: str) -> None:
    """The disk is what it was, its size too. BlockError (ENOENT): none; ConfigError: damaged, or can't be resized."""
    _check_data_file(image)
    if image.area.extensions.bitmaps is not None:
        raise ConfigError("bitmaps", "Device has active dirty bitmaps")
    snapshot = image.snapshots.snapshots[_find_either(image, id_or_name)]
    _check_l1(image, snapshot)
    stored = await _read_l1(image, snapshot)
    for entries in (stored, image.l1.entries):
        check_l2_tables(image, entries)
    size = snapshot.disk_size if snapshot.extra_data_size >= _WITH_DISK_SIZE else image.header.size
    if size != image.header.size:
        await truncate(image, size, exact=True, preallocation="off", zero=False)
    async with _changing(image):
        old = image.l1.entries
        await add_references(image, stored)
        try:
            table = await _new_l1(image, stored)
        except BaseException:
            await _undo(image, stored, 0, 0)
            raise
        image.must_stay_dirty = True
        await write_all(image)
        await image.l2_tables.switch_l1(table)
        image.overlap.forget()
        await drop_references(image, old)
        await write_all(image)
        await refresh_copied(image)
        await write_all(image)
        image.must_stay_dirty = False


async def _new_l1(image: Image, stored: array[int]) -> L1Table:
    """An active L1 table with these entries, as long as the present one at least."""
    count = max(len(stored), len(image.l1.entries))
    entries = array("Q", (entry & ~COPIED for entry in stored)) + zero_words(count - len(stored))
    if not count:
        return L1Table(image.l1.offset, entries)
    offset = await image.refcounts.allocate(count * ENTRY_SIZE)
    try:
        await image.write_metadata(offset, words_bytes(entries), 0, "l1_grow_write_table")
    except BaseException:
        await image.refcounts.release(offset, count * ENTRY_SIZE)
        raise
    return L1Table(offset, entries)


# ---- reading from one


async def snapshot_load(image: Image, id: str, name: str) -> None:
    """Reads come from the snapshot. OSError (EINVAL): the node is not read-only; BlockError (ENOENT): none."""
    if not image.owner.read_only:
        raise OSError(errno.EINVAL, "Device is not readonly")
    snapshot = image.snapshots.snapshots[_find(image, id, name)]
    _check_l1(image, snapshot)
    async with image.lock:
        entries = await _read_stored(image, snapshot, "Failed to read l1 table for snapshot")
        image.l1 = L1Table(snapshot.l1_table_offset, entries)
        image.overlap.forget()


# ---- the table


async def write_snapshot_table(image: Image, snapshots: Sequence[Snapshot]) -> None:
    """These are the snapshots from now on: on disk when this returns. With the lock held.

    OSError: EFBIG. QEMU: qcow2_write_snapshots.
    """
    complete = [_with_disk_size(image, snapshot) for snapshot in snapshots]
    data = b"".join(map(snapshot_bytes, complete))
    if len(data) > MAX_SNAPSHOT_TABLE_SIZE:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    table = SnapshotTable()
    table.snapshots = complete
    table.size = len(data)
    if data:
        table.offset = await image.refcounts.allocate(len(data))
    try:
        if data:
            await image.write_metadata(table.offset, data, 0)
        await write_all(image)
    except BaseException:
        if data:
            await image.refcounts.release(table.offset, len(data))
        raise
    fields = struct.pack(">IQ", len(complete), table.offset)
    stays_dirty, image.must_stay_dirty = image.must_stay_dirty, True
    await image.file.pwrite_sync(SNAPSHOT_FIELDS_OFFSET, fields)
    image.must_stay_dirty = stays_dirty
    old, image.snapshots = image.snapshots, table
    image.set_header(nb_snapshots=len(complete), snapshots_offset=table.offset)
    if image.overlap.inactive_l2_tables is not None:
        await image.overlap.read_inactive_l2()
    if old.size:
        image.refcounts.free(old.offset, old.size, DISCARD_SNAPSHOT)


def _with_disk_size(image: Image, snapshot: Snapshot) -> Snapshot:
    """An old entry that does not say how large the disk was: as large as it is, says QEMU."""
    if snapshot.extra_data_size >= _WITH_DISK_SIZE:
        return snapshot
    return snapshot._replace(disk_size=image.header.size, extra_data_size=_WITH_DISK_SIZE + 8)


# ---- what they share


@contextlib.asynccontextmanager
async def _changing(image: Image) -> AsyncIterator[None]:
    """With the lock held, all on disk, and the image marked dirty; clean again at the end."""
    await image.begin_write()
    await image.flush_caches()
    async with image.lock:
        marks = image.geometry.version >= 3 and not image.header.dirty
        if marks:
            await image.mark_dirty()
        try:
            yield
        finally:
            if marks and not image.broken and not image.must_stay_dirty:
                await image.mark_clean()


def _check_data_file(image: Image) -> None:
    if image.geometry.has_data_file:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def _find(image: Image, id: str, name: str) -> int:
    for index, snapshot in enumerate(image.snapshots.snapshots):
        if (id or name) and id in ("", snapshot.id) and name in ("", snapshot.name):
            return index
    raise BlockError(image.name, errno.ENOENT, "Can't find the snapshot")


def _find_either(image: Image, id_or_name: str) -> int:
    """An id is looked for first."""
    try:
        return _find(image, id_or_name, "")
    except BlockError:
        return _find(image, "", id_or_name)


def _check_l1(image: Image, snapshot: Snapshot) -> None:
    length = snapshot.l1_size * ENTRY_SIZE
    if length > MAX_L1_SIZE:
        raise ConfigError(f"snapshot {snapshot.id}", "Snapshot L1 table too large")
    if snapshot.l1_table_offset > MAX_OFFSET - length or snapshot.l1_table_offset & image.geometry.cluster_mask:
        raise ConfigError(f"snapshot {snapshot.id}", "Snapshot L1 table offset invalid")


async def _read_l1(image: Image, snapshot: Snapshot) -> array[int]:
    length = snapshot.l1_size * ENTRY_SIZE
    return words_from(await image.file.pread(snapshot.l1_table_offset, length) if length else b"")


async def _read_stored(image: Image, snapshot: Snapshot, problem: str) -> array[int]:
    """The same. ConfigError: it can't be read, or must not be walked."""
    try:
        entries = await _read_l1(image, snapshot)
        check_l2_tables(image, entries)
    except (OSError, BlockError) as error:
        raise _failed(image, problem, error) from error
    return entries


def _failed(image: Image, problem: str, error: OSError | BlockError) -> ConfigError:
    return ConfigError(image.name, f"{problem}: {os.strerror(error.errno or errno.EIO)}")
