# SPDX-License-Identifier: GPL-2.0-or-later
"""A crash at any point of a workload with snapshots and resizing, by our own check and repair.

After it, the image opens (and is repaired when it is dirty) with leaks at worst; each sector has what the last flush
covered, or something later; complete snapshots are there; and after a repair nothing is wrong any more.
"""

from __future__ import annotations

import contextlib
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import MAY_UNMAP, PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.qcow2.creation_options import Qcow2Creation
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.block.types import CheckResult, Preallocation, SnapshotInfo
from asyncemu.coroutines import start
from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext
from asyncemu.testing.crash_disk import CrashDisk, CrashDiskOptions
from tests.block.qcow2.conftest import write

SECTOR: Final = 512

FORMS: dict[str, dict[str, Any]] = {
    "clusters of 512": {"cluster_size": 512},
    "clusters of 4096": {"cluster_size": 4096},
    "refcounts of 64 bits": {"cluster_size": 1024, "refcount_bits": 64},
    "refcounts of 4 bits": {"cluster_size": 1024, "refcount_bits": 4},
    "lazy refcounts": {"cluster_size": 512, "lazy_refcounts": True},
    "lazy, of 8 bits": {"cluster_size": 2048, "lazy_refcounts": True, "refcount_bits": 8},
    "subclusters": {"cluster_size": 16384, "extended_l2": True},
    "version 2": {"cluster_size": 1024, "compat": "0.10"},
}


@dataclass
class Request:
    """``begin`` and ``end`` count the disk's events; ``values`` are those of sectors from ``first`` on."""

    begin: int
    first: int = 0
    values: Sequence[int] = ()
    #: Sectors.
    size: int | None = None
    #: Covers all that had ended before it began.
    flushes: bool = False
    #: Is itself on disk when it has ended.
    durable: bool = False
    #: A hint, that need not do anything.
    may_stay: bool = False
    taken: str = ""
    deleted: str = ""
    end: int | None = None
    #: Which came first, of two between the same events.
    began: int = 0
    ended: int = 0

    def over(self, position: int) -> bool:
        return self.end is not None and self.end <= position


@dataclass
class Workload:
    """What a guest and its owner do, by a seed."""

    node: BlockNode
    disk: CrashDisk
    choice: random.Random
    snapshots: bool
    #: Sectors.
    first_size: int
    requests: list[Request] = field(default_factory=list)
    kept: dict[str, tuple[int, ...]] = field(default_factory=dict)
    everything: dict[str, tuple[int, ...]] = field(default_factory=dict)
    ticks: Iterator[int] = field(default_factory=itertools.count)

    @property
    def sectors(self) -> int:
        return self.node.size // SECTOR

    @property
    def driver(self) -> Qcow2Driver:
        assert isinstance(self.node.driver, Qcow2Driver)
        return self.node.driver

    async def run(self, length: int) -> None:
        guest = ["write"] * 5 + ["zero", "discard", "flush", "flush", "several", "several"]
        owner = ["shrink", "grow"] + (["take", "take", "goto", "delete", "amend"] if self.snapshots else [])
        for _ in range(length):
            kind = self.choice.choice(guest + owner)
            if kind == "several":
                await self._several()
            elif kind in guest:
                first = self.choice.randrange(self.sectors)
                last = min(self.sectors, first + self.choice.choice([1, 2, 8, 40]))
                await self._request(kind, first, last)
            else:
                await self._own(kind)

    async def _several(self) -> None:
        borders = sorted(self.choice.randrange(self.sectors + 1) for _ in range(6))
        running = [
            start(self.node.context, self._request(self.choice.choice(["write", "write", "zero"]), a, min(b, a + 40)))
            for a, b in itertools.pairwise(borders)
            if a < b
        ]
        if self.choice.random() < 0.5:
            running.append(start(self.node.context, self._request("flush", 0, 0)))
        for each in running:
            await each

    def _begin(self, request: Request) -> Request:
        request.began = next(self.ticks)
        self.requests.append(request)
        return request

    def _end(self, request: Request) -> None:
        request.end, request.ended = len(self.disk.events), next(self.ticks)

    async def _request(self, kind: str, first: int, last: int) -> None:
        value = self.choice.randrange(1, 256)
        offset, count = first * SECTOR, last - first
        begin = len(self.disk.events)
        match kind:
            case "write":
                request = self._begin(Request(begin, first, [value] * count))
                await write(self.node, offset, bytes([value]) * (count * SECTOR))
            case "zero":
                request = self._begin(Request(begin, first, [0] * count))
                await self.node.write_zeroes(offset, count * SECTOR, MAY_UNMAP if value & 1 else 0)
            case "discard":
                request = self._begin(Request(begin, first, [0] * count, may_stay=True))
                await self.node.discard(offset, count * SECTOR)
            case _:
                request = self._begin(Request(begin, flushes=True))
                await self.node.flush()
        self._end(request)

    async def _own(self, kind: str) -> None:
        begin = len(self.disk.events)
        name = self.choice.choice(list(self.kept)) if self.kept else ""
        if kind in ("shrink", "grow") and (not self.kept or self.snapshots):
            size = max(8, self.choice.randrange(self.sectors) if kind == "shrink" else self.sectors + 32)
            request = Request(begin, self.sectors, [0] * max(0, size - self.sectors), size=size, durable=True)
            if size < self.sectors:
                request = Request(begin, size, [0] * (self.sectors - size), size=size, durable=True)
            self._begin(request)
            preallocation: Preallocation = "metadata" if size > self.sectors and self.choice.random() < 0.3 else "off"
            await self.node.truncate(size * SECTOR, preallocation=preallocation)
        elif kind == "take" and len(self.kept) < 3:
            name = f"s{len(self.requests)}"
            data = await self.node.pread(0, self.node.size)
            self.kept[name] = self.everything[name] = tuple(data[::SECTOR])
            request = self._begin(Request(begin, flushes=True, durable=True, taken=name))
            await self.driver.snapshot_create(SnapshotInfo("", name, 0, 0, 0, 0))
        elif kind == "goto" and name:
            values = list(self.kept[name])
            cut = [0] * max(0, self.sectors - len(values))
            request = Request(begin, 0, values + cut, size=len(values), flushes=True, durable=True)
            self._begin(request)
            await self.driver.snapshot_goto(name)
        elif kind == "delete" and name:
            del self.kept[name]
            request = self._begin(Request(begin, flushes=True, durable=True, deleted=name))
            await self.driver.snapshot_delete("", name)
        elif kind == "amend":
            request = self._begin(Request(begin, flushes=True, durable=True))
            await self._amend()
        else:
            return
        self._end(request)

    async def _amend(self) -> None:
        """Refcounts of another width; or to version 2, and back."""
        options = {"refcount_bits": self.choice.choice(["8", "16", "16", "32", "64"])}
        if options["refcount_bits"] == "16":
            options["compat"] = "0.10"
        # A downgrade is refused when a snapshot has another size than the disk.
        with contextlib.suppress(ConfigError):
            await self.driver.amend(options, lambda done, total: None, False)
        await self.driver.amend({"compat": "1.1"}, lambda done, total: None, False)

    # ---- what may be there after a crash before event ``position``

    def _begun(self, position: int) -> list[Request]:
        return [each for each in self.requests if each.begin <= position]

    def sizes(self, position: int) -> set[int]:
        """In sectors."""
        found = {self.first_size}
        for request in self._begun(position):
            if request.size is not None:
                found = {request.size} if request.over(position) else {*found, request.size}
        return found

    def values(self, position: int) -> list[set[int]]:
        """Of each sector that there ever was."""
        flushed = max((each.began for each in self.requests if each.flushes and each.over(position)), default=-1)
        found: list[set[int]] = [{0} for _ in range(10_000)]
        for request in self._begun(position):
            lasts = request.over(position) and (request.durable or request.ended < flushed)
            for sector, value in enumerate(request.values, request.first):
                if lasts and not request.may_stay:
                    found[sector] = {value}
                else:
                    found[sector].add(value)
        return found

    def complete_snapshots(self, position: int) -> list[str]:
        taken = [each.taken for each in self.requests if each.taken and each.over(position)]
        deleted = {each.deleted for each in self._begun(position)}
        return [name for name in taken if name not in deleted]


async def made(context: AioContext, graph: BlockGraph, node: BlockNode, options: dict[str, Any], size: int) -> None:
    """An image on ``node``, on disk."""
    backend = BlockBackend("make", context, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL)
    backend.allow_write_beyond_end = True
    await backend.insert(node)
    await Qcow2Driver.create(backend, Qcow2Creation(size=size, **options))
    await backend.remove()
    assert isinstance(node.driver, CrashDisk)
    node.driver.begin_with(bytes(node.driver.data))


async def check(node: BlockNode, repair: Any = "") -> CheckResult:
    assert isinstance(node.driver, Qcow2Driver)
    return await node.driver.check(repair, lambda done, total: None)


async def look(context: AioContext, workload: Workload, image: bytes, position: int) -> None:
    """What must hold of a crashed image."""
    graph = BlockGraph(context, Path())
    disk = await graph.add(CrashDisk, CrashDiskOptions(), "disk")
    assert isinstance(disk.driver, CrashDisk)
    disk.driver.begin_with(image)
    node = await graph.add_table({"driver": "qcow2", "file": "disk"}, "top")
    assert isinstance(node.driver, Qcow2Driver)
    found = await check(node)
    assert not (found.corruptions or found.check_errors), f"event {position}: {found.findings}"
    assert not node.driver.image.header.corrupt
    assert node.size // SECTOR in workload.sizes(position)
    contents = bytes(await node.pread(0, node.size))
    for sector, allowed in enumerate(workload.values(position)[: node.size // SECTOR]):
        part = contents[sector * SECTOR : (sector + 1) * SECTOR]
        assert part == part[:1] * SECTOR, f"event {position}: sector {sector} is torn"
        assert part[0] in allowed, f"event {position}: sector {sector} is {part[0]}, may be {allowed}"
    for name in workload.complete_snapshots(position):
        await node.driver.snapshot_goto(name)
        data = bytes(await node.pread(0, node.size))
        assert tuple(data[::SECTOR]) == workload.everything[name], f"event {position}: snapshot {name}"
    await check(node, "all")
    left = await check(node)
    assert not left.findings, f"event {position}: {left.findings}"
    await graph.remove(node)
    await graph.close()


async def simulate(context: AioContext, form: str, seed: int, crashes: int, length: int) -> None:
    choice = random.Random(f"{form} {seed}")
    options = FORMS[form]
    size = choice.choice([16, 48, 100]) * 1024
    graph = BlockGraph(context, Path())
    node = await graph.add(CrashDisk, CrashDiskOptions(seed=seed if seed % 2 else None, discard="unmap"), "disk")
    disk = node.driver
    assert isinstance(disk, CrashDisk)
    await made(context, graph, node, options, size)
    table: dict[str, Any] = {"driver": "qcow2", "file": "disk", "discard": "unmap"}
    table["pass-discard-other"] = choice.random() < 0.5
    if choice.random() < 0.4:
        table.update({"l2-cache-entry-size": 512, "l2-cache-size": 1024})
    top = await graph.add_table(table, "top")
    workload = Workload(top, disk, choice, "compat" not in options, size // SECTOR)
    await workload.run(length)
    await graph.remove(top)
    positions = range(len(disk.events) + 1)
    chosen = list(positions) if len(positions) <= crashes else sorted(choice.sample(positions, crashes))
    for position in chosen:
        await look(context, workload, disk.after_crash(position, choice if choice.random() < 0.85 else None), position)
    await graph.close()


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(2))
async def test_crash_at_any_point_loses_nothing_that_was_flushed(context: AioContext, form: str, seed: int) -> None:
    await simulate(context, form, seed, crashes=25, length=20)


@pytest.mark.soak
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(2, 20))
async def test_crash_at_any_point_of_many_workloads(context: AioContext, form: str, seed: int) -> None:
    await simulate(context, form, seed, crashes=60, length=40)


@pytest.mark.slow
async def test_crash_while_a_dirty_image_is_repaired_is_repaired_again(context: AioContext) -> None:
    graph = BlockGraph(context, Path())
    node = await graph.add(CrashDisk, CrashDiskOptions(), "disk")
    disk = node.driver
    assert isinstance(disk, CrashDisk)
    await made(context, graph, node, {"cluster_size": 512, "lazy_refcounts": True}, 64 * 1024)
    top = await graph.add_table({"driver": "qcow2", "file": "disk"}, "top")
    workload = Workload(top, disk, random.Random(1), True, 128)
    await workload.run(30)
    image = disk.after_crash(len(disk.events) - 1)
    position = len(disk.events) - 1
    disk.begin_with(image)
    again = BlockGraph(context, Path())
    second = await again.add(CrashDisk, CrashDiskOptions(), "disk")
    assert isinstance(second.driver, CrashDisk)
    second.driver.begin_with(image)
    opened = await again.add_table({"driver": "qcow2", "file": "disk"}, "top", OpenMode())
    await again.remove(opened)
    for at in range(len(second.driver.events) + 1):
        await look(context, workload, second.driver.after_crash(at, random.Random(at)), position)
    await again.close()


async def test_crash_while_an_image_grows_shows_nothing_of_what_was_cut_off(context: AioContext) -> None:
    graph = BlockGraph(context, Path())
    node = await graph.add(CrashDisk, CrashDiskOptions(), "disk")
    disk = node.driver
    assert isinstance(disk, CrashDisk)
    await made(context, graph, node, {"cluster_size": 1024}, 64 * 1024)
    top = await graph.add_table({"driver": "qcow2", "file": "disk"}, "top")
    workload = Workload(top, disk, random.Random(1), True, 128)
    await write(top, 0, b"\1" * (64 * 1024))
    await top.truncate(39 * SECTOR)
    workload.requests = [Request(-1, 0, [1] * 38, size=39, durable=True, end=-1)]
    zero = Request(len(disk.events), 38, [0])
    # A zero cluster, in memory: on disk, the cluster has what was there before.
    await top.write_zeroes(38 * SECTOR, SECTOR)
    zero.values = [0]
    workload.requests.append(Request(-1, 38, [1]))
    workload.requests.append(zero)
    begin = len(disk.events)
    workload.requests.append(Request(begin, size=71, durable=True))
    await top.truncate(71 * SECTOR)
    workload.requests[-1].end = len(disk.events)
    await graph.remove(top)
    for position in range(begin, len(disk.events) + 1):
        for choice in range(3):
            await look(context, workload, disk.after_crash(position, random.Random(choice)), position)
    await graph.close()
