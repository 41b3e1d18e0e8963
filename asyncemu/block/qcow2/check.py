# SPDX-License-Identifier: GPL-2.0-or-later
"""Check: count what all tables name, compare that with the refcounts, and repair what can be.

    snapshot table      read                            check_snapshots.py
    references          L1, L2, bitmaps, refcounts      check_tables.py, check_bitmaps.py, check_refcounts.py
    refcounts           compare, set right              check_refcounts.py; made anew: repair.py
    COPIED flags        of active tables                check_copied.py
    snapshot table      written anew when damaged

Tables are read from the file, past the caches, which are written before and empty behind it. Each part's messages and
counts, and their order, are those of ``qemu-img check``. QEMU: qcow2_co_check_locked, qcow2_check_refcounts.
The node is drained.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from asyncemu.block.driver import Progress
from asyncemu.block.qcow2 import features
from asyncemu.block.qcow2.check_bitmaps import count_bitmaps
from asyncemu.block.qcow2.check_copied import CopiedFlags
from asyncemu.block.qcow2.check_counts import MAX_CLUSTERS, ReferenceCounts
from asyncemu.block.qcow2.check_refcounts import Comparison, check_blocks
from asyncemu.block.qcow2.check_report import CheckStopped, Report, add_counts
from asyncemu.block.qcow2.check_snapshots import check_snapshot_table, repair_snapshot_table, trim_snapshot_table
from asyncemu.block.qcow2.check_tables import TableWalk
from asyncemu.block.qcow2.constants import ENTRY_SIZE, MAX_L1_SIZE
from asyncemu.block.qcow2.errors import c_hex
from asyncemu.block.types import CheckFailed, CheckResult, Repair
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image


async def check(image: Image, repair: Repair, progress: Progress) -> CheckResult:
    """Look, and repair. CheckFailed: it could not go on, with what it has found."""
    image.check_usable()
    if not image.owner.read_only:
        await image.flush_caches()
    sound = False
    try:
        async with image.lock:
            result = await Check(image, Report(repair), progress).run()
        sound = not (result.check_errors or result.corruptions)
    finally:
        if image.header.dirty and not sound:
            # QEMU says at the end that it is clean, whatever was found.
            image.must_stay_dirty = True
    return result


class Check:
    """One check. With the image's lock held, and nothing in the caches that is not in the file."""

    def __init__(self, image: Image, report: Report, progress: Progress) -> None:
        self._image = image
        self._report = report
        self._progress = progress
        self._total = CheckResult(findings=report.lines)

    async def run(self) -> CheckResult:
        """CheckFailed."""
        report, total = self._report, self._total
        try:
            await self._run_parts()
            if (report.fix_leaks or report.fix_errors) and not total.check_errors and not total.corruptions:
                await self._mark_good()
        except CheckStopped as error:
            add_counts(total, report.counts)
            raise CheckFailed(error.errno, total) from error
        except (OSError, BlockError) as error:
            raise CheckFailed(error.errno or errno.EIO, total) from error
        return total

    async def _run_parts(self) -> None:
        image, report, total = self._image, self._report, self._total
        snapshots = report.counts
        await check_snapshot_table(image, report)
        report.counts = CheckResult()
        try:
            await self._check_references()
        except CheckStopped:
            add_counts(total, snapshots)
            self._take_statistics(report.counts)
            raise
        add_counts(total, report.counts)
        self._take_statistics(report.counts)
        report.counts = snapshots
        await repair_snapshot_table(image, report)
        add_counts(total, snapshots)
        report.counts = CheckResult()

    def _take_statistics(self, part: CheckResult) -> None:
        self._total.image_end_offset = part.image_end_offset
        self._total.total_clusters = part.total_clusters
        self._total.allocated_clusters = part.allocated_clusters
        self._total.fragmented_clusters = part.fragmented_clusters
        self._total.compressed_clusters = part.compressed_clusters

    # ---- references and refcounts

    async def _check_references(self) -> None:
        image, report = self._image, self._report
        geometry = image.geometry
        size = image.file.size
        if geometry.clusters(size) > MAX_CLUSTERS:
            report.error()
            raise CheckStopped(errno.EFBIG)
        counts = ReferenceCounts(geometry, image.refcounts.codec, size, report)
        report.counts.total_clusters = geometry.clusters(image.header.size)
        rebuild = await self._count(counts, fix=report.fix_errors)
        before = _copy(report.counts)
        comparison = Comparison(image, counts, report)
        await comparison.run(fix_leaks=False, fix_errors=False)
        rebuild = rebuild or comparison.rebuild
        if rebuild and report.fix_errors:
            await self._rebuild(counts, comparison)
        elif report.fix_leaks or report.fix_errors:
            if rebuild:
                report.error("ERROR need to rebuild refcount structures")
                raise CheckStopped(errno.EIO)
            if report.counts.leaks or report.counts.corruptions:
                report.counts = before
                await comparison.run(fix_leaks=report.fix_leaks, fix_errors=report.fix_errors)
        if not image.owner.read_only:
            await image.metadata.write(refcounts_too=True)
            await comparison.discard_freed()
        found = report.counts
        sound = not (found.check_errors or found.corruptions or found.leaks)
        repairs = report.fix_errors or (report.fix_leaks and sound)
        try:
            await CopiedFlags(image, report, repair=repairs).check()
        finally:
            # They were changed in the file.
            image.l2_cache.forget_all()
        found.image_end_offset = (comparison.highest + 1) << geometry.cluster_bits

    async def _count(self, counts: ReferenceCounts, *, fix: bool) -> bool:
        """All references. True: refcounts must be made anew. QEMU: calculate_refcounts."""
        image, report = self._image, self._report
        geometry, header = image.geometry, image.header
        counts.count(0, geometry.cluster_size)
        walk = TableWalk(image, counts, report, fix=fix)
        await walk.l1_table(header.l1_table_offset, header.l1_size, active=True, progress=self._progress)
        snapshots = image.snapshots
        if geometry.has_data_file and snapshots.snapshots:
            report.corruption(f"ERROR {len(snapshots.snapshots)} snapshots in image with data file")
        for snapshot in snapshots.snapshots:
            who = f"ERROR snapshot {snapshot.id} ({snapshot.name})"
            if snapshot.l1_table_offset & geometry.cluster_mask:
                report.corruption(
                    f"{who} l1_offset={c_hex(snapshot.l1_table_offset)}: L1 table is not cluster aligned; "
                    "snapshot table entry corrupted"
                )
            elif snapshot.l1_size > MAX_L1_SIZE // ENTRY_SIZE:
                report.corruption(
                    f"{who} l1_size={c_hex(snapshot.l1_size)}: L1 table is too large; snapshot table entry corrupted"
                )
            else:
                await walk.l1_table(snapshot.l1_table_offset, snapshot.l1_size, active=False)
        await walk.finish()
        if snapshots.uncertain:
            trim_snapshot_table(snapshots, counts)
        counts.count(snapshots.offset, snapshots.size)
        counts.count(image.refcounts.table_offset, len(image.refcounts.table) * ENTRY_SIZE)
        if image.area.extensions.encryption is not None:
            encryption = image.area.extensions.encryption
            counts.count(encryption.offset, encryption.length)
        await count_bitmaps(image, counts, report)
        return await check_blocks(image, counts, report, fix=fix)

    async def _rebuild(self, counts: ReferenceCounts, comparison: Comparison) -> None:
        """New refcounts; then all is counted again, since the old ones are not in use any more."""
        from asyncemu.block.qcow2.repair import rebuild_refcounts

        image, report = self._image, self._report
        found = report.counts
        old_corruptions, old_leaks = found.corruptions, found.leaks
        report.say("Rebuilding refcount structure")
        await rebuild_refcounts(image, counts, report)
        found.corruptions = found.leaks = 0
        counts.file_size = image.file.size
        counts.clusters = max(counts.clusters, image.geometry.clusters(counts.file_size))
        counts.clear()
        await self._count(counts, fix=False)
        fresh_leaks = 0
        if report.fix_leaks:
            report.counts = CheckResult()
            await comparison.run(fix_leaks=True, fix_errors=False)
            if comparison.rebuild:
                report.say("ERROR rebuilt refcount structure is still broken")
            fresh_leaks = report.counts.leaks
            report.counts = found
        if found.corruptions < old_corruptions:
            found.corruptions_fixed += old_corruptions - found.corruptions
        if found.leaks < old_leaks:
            found.leaks_fixed += old_leaks - found.leaks
        found.leaks += fresh_leaks

    # ---- the end

    async def _mark_good(self) -> None:
        """Neither dirty nor corrupt any more. QEMU: qcow2_mark_clean, qcow2_mark_consistent."""
        image = self._image
        image.must_stay_dirty = False
        await image.metadata.write(refcounts_too=True)
        await image.refcounts.settle()
        await image.mark_clean()
        if image.header.corrupt:
            await image.metadata.write(refcounts_too=True)
            await image.file.flush()
            await image.change_features(remove=features.CORRUPT)


def _copy(counts: CheckResult) -> CheckResult:
    result = CheckResult()
    add_counts(result, counts)
    for name in ("total_clusters", "allocated_clusters", "fragmented_clusters", "compressed_clusters"):
        setattr(result, name, getattr(counts, name))
    return result
