# SPDX-License-Identifier: GPL-2.0-or-later
"""After a crash at any point, and any legal loss of what was not flushed: leaks at worst, and flushed data is there."""

from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import uvloop

from asyncemu.block import BlockGraph, BlockNode
from asyncemu.block.backend import BlockBackend
from asyncemu.block.flags import (
    MAY_UNMAP,
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_RESIZE,
    PERM_WRITE,
    WRITE_COMPRESSED,
)
from asyncemu.block.qcow2.creation_options import Qcow2Creation
from asyncemu.block.qcow2.driver import Qcow2Driver
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext
from asyncemu.testing.crash_disk import CrashDisk, CrashDiskOptions
from tests.block.qcow2.conftest import qemu_img, write

pytestmark = pytest.mark.slow

SECTOR: Final = 512
#: qemu-img check: nothing but leaks.
LEAKS: Final = 3

FORMS: dict[str, dict[str, Any]] = {
    "clusters of 512": {"cluster_size": 512},
    "refcounts of 64 bits": {"cluster_size": 1024, "refcount_bits": 64},
    "refcounts of 1 bit": {"cluster_size": 4096, "refcount_bits": 1},
    "lazy refcounts": {"cluster_size": 512, "lazy_refcounts": True},
    "subclusters": {"cluster_size": 16384, "extended_l2": True},
}


@dataclass
class Request:
    """``began`` and ``ended`` count the disk's events, ``order`` and ``ended_order`` what the guest did: several things
    may happen between two events. ``value``: each of its bytes, None: a flush."""

    began: int
    order: int
    first: int
    last: int
    value: int | None
    may_stay: bool = False
    ended: int | None = None
    ended_order: int | None = None


@dataclass
class Workload:
    """What a guest does, by a seed."""

    node: BlockNode
    disk: CrashDisk
    choice: random.Random
    sectors: int
    cluster_size: int
    requests: list[Request] = field(default_factory=list)
    clock: Iterator[int] = field(default_factory=itertools.count)

    async def run(self) -> None:
        for _ in range(self.choice.randrange(8, 30)):
            if self.choice.random() < 0.3:
                await self._several()
            else:
                await self._one(self.choice.choice(["write"] * 4 + ["zero", "discard", "compress", "flush", "flush"]))

    async def _several(self) -> None:
        borders = sorted(self.choice.sample(range(self.sectors + 1), 6))
        kinds = ["write", "write", "zero", "discard"]
        running = [
            start(self.node.context, self._do(self.choice.choice(kinds), a, min(b, a + 40)))
            for a, b in itertools.pairwise(borders)
        ]
        if self.choice.random() < 0.5:
            running.append(start(self.node.context, self._do("flush", 0, 0)))
        for each in running:
            await each

    async def _one(self, kind: str) -> None:
        first = self.choice.randrange(self.sectors)
        length = self.choice.choice([1, 2, 8, 60])
        if kind == "compress":
            length = self.cluster_size // SECTOR
            first = first // length * length
        await self._do(kind, first, min(self.sectors, first + length))

    async def _do(self, kind: str, first: int, last: int) -> None:
        value = self.choice.randrange(1, 256)
        offset, length = first * SECTOR, (last - first) * SECTOR
        request = Request(len(self.disk.events), next(self.clock), first, last, value)
        self.requests.append(request)
        match kind:
            case "write":
                await write(self.node, offset, bytes([value]) * length)
            case "zero":
                request.value = 0
                await self.node.write_zeroes(offset, length, MAY_UNMAP if value & 1 else 0)
            case "discard":
                request.value, request.may_stay = 0, True
                await self.node.discard(offset, length)
            case "compress":
                try:
                    await write(self.node, offset, bytes([value]) * length, WRITE_COMPRESSED)
                except BlockError:
                    request.last = first  # there are data already: nothing happened
            case _:
                request.value = None
                await self.node.flush()
        request.ended, request.ended_order = len(self.disk.events), next(self.clock)

    def allowed(self, position: int) -> list[set[int]]:
        """What each sector may hold after a crash before event ``position``."""
        flushes = [each for each in self.requests if each.value is None and each.ended is not None]
        flushed = max((each.order for each in flushes if (each.ended or 0) <= position), default=-1)
        found: list[set[int]] = [{0} for _ in range(self.sectors)]
        for request in self.requests:
            if request.value is None or request.began > position:
                continue
            durable = request.ended_order is not None and request.ended_order < flushed
            for sector in range(request.first, request.last):
                if durable and not request.may_stay:
                    found[sector] = {request.value}
                else:
                    found[sector].add(request.value)
        return found


def check(path: Path) -> None:
    """Leaks at worst; refcounts that were postponed are counted anew first."""
    if path.read_bytes()[79] & 1:
        subprocess.run(["qemu-img", "check", "-r", "all", str(path)], capture_output=True, timeout=60, check=False)
    ended = subprocess.run(["qemu-img", "check", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode in (0, LEAKS), f"{ended.returncode} {ended.stdout} {ended.stderr}"


def look(workload: Workload, path: Path, position: int) -> None:
    check(path)
    raw = path.with_suffix(".raw")
    qemu_img("convert", "-O", "raw", path, raw)
    contents = raw.read_bytes()
    for sector, values in enumerate(workload.allowed(position)):
        part = contents[sector * SECTOR : (sector + 1) * SECTOR]
        assert part == part[:1] * SECTOR, f"event {position}: sector {sector} is torn"
        assert part[0] in values, f"event {position}: sector {sector} is {part[0]}, may be {values}"


async def simulate(form: dict[str, Any], seed: int, crashes: int) -> None:
    choice = random.Random(seed)
    size = choice.choice([64, 200, 600]) * 1024
    with tempfile.TemporaryDirectory() as directory:
        context = AioContext(asyncio.get_running_loop(), "crash")
        graph = BlockGraph(context, Path(directory))
        node = await graph.add(CrashDisk, CrashDiskOptions(seed=seed if seed % 2 else None, discard="unmap"), "disk")
        disk = node.driver
        assert isinstance(disk, CrashDisk)
        backend = BlockBackend("make", context, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, PERM_ALL)
        backend.allow_write_beyond_end = True
        await backend.insert(node)
        await Qcow2Driver.create(backend, Qcow2Creation(size=size, **form))
        await backend.remove()
        disk.begin_with(bytes(disk.data))
        table: dict[str, Any] = {"driver": "qcow2", "file": "disk", "discard": "unmap"}
        if choice.random() < 0.5:
            table.update({"l2-cache-entry-size": 512, "l2-cache-size": 1024})
        top = await graph.add_table(table, "top")
        workload = Workload(top, disk, choice, size // SECTOR, form["cluster_size"])
        await workload.run()
        await graph.remove(top)
        for _ in range(crashes):
            position = choice.randrange(len(disk.events) + 1)
            path = Path(directory) / "crashed"
            path.write_bytes(disk.after_crash(position, choice if choice.random() < 0.8 else None))
            look(workload, path, position)
        await graph.close()
        context.close()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(2))
def test_crash_anywhere_leaves_leaks_at_worst_and_flushed_data(form: str, seed: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(simulate(FORMS[form], seed, crashes=6))
