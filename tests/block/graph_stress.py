# SPDX-License-Identifier: GPL-2.0-or-later
"""A small world of two disks whose graph is changed by chance while writers use them; test_graph_stress.py runs it.

    writers → BlockBackends → filters that come and go → Teller → raw → memory or file, blocks of 512 bytes
                                                        Teller → overlay → one of two equal bases

A write names itself in its data. The Teller, which every request passes once, counts each by that name, and by that
name and the seed decides whether it fails, before or behind the write below. So of each request it is known what must
come of it, and at the end what must be on the disk. Writers have slots of 100 bytes side by side: most writes read,
change and write blocks that others write, too.

Who does what follows from the seed; how threads interleave does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import random
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Final

from asyncemu.block import BlockBackend, BlockGraph, BlockNode, drained, move_nodes
from asyncemu.block.driver import BlockDriverOptions
from asyncemu.block.filter import FilterDriver, FilterOptions
from asyncemu.block.flags import (
    FUA,
    MAY_UNMAP,
    NO_FALLBACK,
    PERM_ALL,
    PERM_CONSISTENT_READ,
    PERM_WRITE,
    WRITE_UNCHANGED,
)
from asyncemu.block.graph_change import insert_filter, remove_filter, replace_node, set_backing
from asyncemu.block.homes import at_home, to_end
from asyncemu.block.order import connected
from asyncemu.block.reopen import reopen
from asyncemu.block.types import Reopening
from asyncemu.coroutines import Coroutine, reschedule_self
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk, MemoryDiskOptions
from asyncemu.testing.memory_overlay import MemoryOverlay, MemoryOverlayOptions
from tests.block.drivers import add

SLOT: Final = 100
WRITERS: Final = 3
SLOTS_OF_A_WRITER: Final = 12
SLOTS: Final = WRITERS * SLOTS_OF_A_WRITER
#: Bytes of a disk; the last block is not filled.
SIZE: Final = SLOTS * SLOT + 60
REQUESTS: Final = 30
#: Changes of the graph, and how many of them may go on at once.
CHANGES: Final = 14
CHANGERS: Final = 3
#: Seconds after which a run hangs, on a machine under load.
PATIENCE: Final = 60

_header = struct.Struct("<II")


class Jittery(MemoryDisk, name="jittery"):
    """A memory disk whose requests take a while, some longer than others: what comes second may end first."""

    options_type: ClassVar[type[MemoryDiskOptions]] = MemoryDiskOptions

    async def open(self) -> int:
        self._dice = random.Random(self.node_name)
        return await super().open()

    async def _begin(self, method: str, offset: int, length: int, buffers: Buffers | None = None) -> None:
        await super()._begin(method, offset, length, buffers)
        for _ in range(self._dice.randrange(4)):
            await asyncio.sleep(0)


class JitteryOverlay(Jittery, MemoryOverlay, name="jittery-overlay"):
    """The same over a backing file."""

    options_type = MemoryOverlayOptions


class TellerOptions(FilterOptions):
    """Keys of ``teller``."""

    seed: int = 0


class Teller(FilterDriver[TellerOptions], name="teller"):
    """Counts, and fails what is to fail. ``refuses`` the next move or reopen, on wish."""

    def __init__(self, options: TellerOptions, node_name: str, context: AioContext) -> None:
        super().__init__(options, node_name, context)
        #: Writes by (writer, number), write zeroes by offset.
        self.written: Counter[tuple[int, int]] = Counter()
        self.zeroed: Counter[int] = Counter()
        self.refuses_home = False
        self.refuses_options = False

    write_flags = FUA | WRITE_UNCHANGED
    zero_flags = MAY_UNMAP | FUA | NO_FALLBACK | WRITE_UNCHANGED

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        if flags & WRITE_UNCHANGED:  # a copy on read
            await super().pwritev(offset, buffers, flags)
            return
        name = _header.unpack(buffers.slice(0, _header.size).tobytes())
        self.written[name] += 1
        await self._tell(fate(self.options.seed, *name), super().pwritev(offset, buffers, flags))

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        if flags & WRITE_UNCHANGED:
            await super().write_zeroes(offset, length, flags)
            return
        self.zeroed[offset] += 1
        await self._tell(
            fate(self.options.seed, "zero", offset, self.zeroed[offset]), super().write_zeroes(offset, length, flags)
        )

    async def _tell(self, fate: str, request: Awaitable[None]) -> None:
        if fate == "before":
            request.close()  # type: ignore[attr-defined]
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        await request
        await asyncio.sleep(0)
        if fate == "behind":
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def detach_context(self) -> None:
        self._left = self.context

    async def attach_context(self) -> None:
        if self.refuses_home and self.context is not self._left:
            self.refuses_home = False
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        if self.refuses_options:
            self.refuses_options = False
            raise ConfigError("seed", "no")
        return None


def fate(*name: object) -> str:
    """What comes of the request that has this name: fine, or EIO ``before`` it is done or ``behind`` that."""
    return random.Random(repr(name)).choices(["fine", "before", "behind"], [90, 5, 5])[0]


def data_of(writer: int, number: int) -> bytes:
    """What write ``number`` of ``writer`` writes: its name, and bytes that no other write has."""
    return _header.pack(writer, number) + random.Random(f"{writer} {number}").randbytes(SLOT - _header.size)


class Disk:
    """One tree, its users, and what it must hold."""

    def __init__(self, world: World, index: int) -> None:
        self.world = world
        self.index = index
        self.teller: Teller
        self.backends: list[BlockBackend] = []
        self.filters: list[BlockNode] = []
        #: What each slot may hold: one thing, unless a request was cancelled and nobody has looked since.
        self.slots: list[set[bytes]] = [{bytes(SLOT)} for _ in range(SLOTS)]
        #: Slots of which zeroing was given up, perhaps halfway: each byte is one of those.
        self.torn: set[int] = set()
        self.expected: Counter[tuple[int, int]] = Counter()
        self.expected_zeroes: Counter[int] = Counter()
        #: Cancelled: made once or not at all.
        self.doubtful: set[tuple[int, int]] = set()
        self.doubtful_zeroes: Counter[int] = Counter()

    @property
    def nodes(self) -> list[BlockNode]:
        """Of the tree, those above first."""
        return connected(self.teller.node)

    async def build(self) -> None:
        """The tree, and two BlockBackends."""
        graph, seed, index = self.world.graph, self.world.seed, self.index
        if index == 0:
            await add(graph, "raw", "raw", file=self._storage())
            below = "raw"
        else:
            for number in range(2):
                await add(graph, "jittery", f"base{number}", size=SIZE)
            await add(graph, "jittery-overlay", "overlay", size=SIZE, backing="base0", request_alignment=512)
            below = "overlay"
        top = await add(graph, "teller", f"teller{index}", file=below, seed=seed)
        assert isinstance(top.driver, Teller)
        self.teller = top.driver
        for number in range(2):
            backend = BlockBackend(f"dev{index}-{number}", graph.context, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL)
            await backend.insert(top)
            self.backends.append(backend)

    def _storage(self) -> dict[str, Any]:
        if self.world.seed % 4:
            return {"driver": "jittery", "size": SIZE, "request-alignment": 512}
        path = self.world.directory / f"disk{self.world.seed}.img"
        path.write_bytes(bytes(SIZE))
        return {"driver": "file", "filename": str(path), "aio": "threads"}

    def is_right(self, slot: int, data: bytes) -> bool:
        """May ``slot`` hold ``data``?"""
        if slot in self.torn:
            return all(any(each[index] == byte for each in self.slots[slot]) for index, byte in enumerate(data))
        return data in self.slots[slot]

    def knows(self, slot: int, data: bytes) -> None:
        """``slot`` holds ``data``."""
        self.slots[slot] = {data}
        self.torn.discard(slot)

    async def contents(self) -> bytes:
        """All of it, read below the Teller."""
        node = self.teller.file.node
        return bytes(await node.context.call(lambda: node.pread(0, SIZE)))


class Writer:
    """Writes, zeroes, reads and flushes its slots, one request at a time, from wherever its BlockBackend is."""

    def __init__(self, disk: Disk, number: int) -> None:
        self.disk = disk
        self.number = number
        self.backend = disk.backends[number % len(disk.backends)]
        self.dice = random.Random(f"{disk.world.seed} {disk.index} writer {number}")
        self.writes = 0

    async def live(self) -> None:
        acts = (
            [self.write] * 6 + [self.write_and_give_up] * 2 + [self.zero, self.zero_and_give_up, self.look, self.flush]
        )
        for _ in range(REQUESTS):
            # Wherever it is now: it stays there until we wait for something.
            while not self.backend.context.in_home():
                await reschedule_self(self.backend.context)
            slot = self.number + WRITERS * self.dice.randrange(SLOTS_OF_A_WRITER)
            await self.dice.choice(acts)(slot)
            for _ in range(self.dice.randrange(3)):
                await asyncio.sleep(0)

    # ---- acts

    async def write(self, slot: int) -> None:
        name, data = self._next()
        self.disk.expected[name] += 1
        fated = fate(self.disk.world.seed, *name)
        error = await self._error(self.backend.pwrite(slot * SLOT, data, self.dice.choice([0, 0, FUA])))
        assert (error is None) is (fated == "fine"), f"{name} is to go {fated}: {error!r}"
        if fated != "before":
            self.disk.knows(slot, data)

    async def write_and_give_up(self, slot: int) -> None:
        name, data = self._next()
        self.disk.doubtful.add(name)
        error = await self._given_up(self.backend.pwrite(slot * SLOT, data))
        self._note(slot, data, fate(self.disk.world.seed, *name), error)

    async def zero(self, slot: int) -> None:
        fated = self._zero_fate(slot)
        self.disk.expected_zeroes[slot * SLOT] += 1
        error = await self._error(self.backend.write_zeroes(slot * SLOT, SLOT))
        assert (error is None) is (fated == "fine"), f"zeroes at slot {slot} are to go {fated}: {error!r}"
        if fated != "before":
            self.disk.knows(slot, bytes(SLOT))

    async def zero_and_give_up(self, slot: int) -> None:
        fated = self._zero_fate(slot)
        before = self.disk.teller.zeroed[slot * SLOT]
        error = await self._given_up(self.backend.write_zeroes(slot * SLOT, SLOT))
        # It has ended: whether it was made is known now, and the fates of the next ones with it.
        made = self.disk.teller.zeroed[slot * SLOT] - before
        assert made in (0, 1)
        self.disk.expected_zeroes[slot * SLOT] += made
        if isinstance(error, asyncio.CancelledError):
            self.disk.torn.add(slot)
        self._note(slot, bytes(SLOT), fated, error)

    async def look(self, slot: int) -> None:
        data = bytes(await self.backend.pread(slot * SLOT, SLOT))
        assert self.disk.is_right(slot, data), f"slot {slot} has {data[:8].hex()}"
        self.disk.knows(slot, data)

    async def flush(self, slot: int) -> None:
        await self.backend.flush()

    # ---- what comes of a request

    def _next(self) -> tuple[tuple[int, int], bytes]:
        self.writes += 1
        name = self.disk.index << 16 | self.number, self.writes
        return name, data_of(*name)

    def _zero_fate(self, slot: int) -> str:
        return fate(self.disk.world.seed, "zero", slot * SLOT, self.disk.expected_zeroes[slot * SLOT] + 1)

    def _note(self, slot: int, data: bytes, fated: str, error: BaseException | None) -> None:
        if isinstance(error, asyncio.CancelledError):
            self.disk.slots[slot] = self.disk.slots[slot] | {data}
            return
        assert (error is None) is (fated == "fine"), f"is to go {fated}: {error!r}"
        if fated != "before":
            self.disk.knows(slot, data)

    async def _error(self, request: Awaitable[None]) -> BlockError | None:
        try:
            await request
        except BlockError as error:
            return error
        return None

    async def _given_up(self, request: Any) -> BaseException | None:
        """Of a request that is cancelled after a while, unless it has ended by then."""
        running: Coroutine[None] = Coroutine(self.backend.context, request, on_done=lambda _: None)
        running.enter()
        for _ in range(self.dice.randrange(6)):
            await asyncio.sleep(0)
        if not running.done():
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError, BlockError):
                await running
        return running.error


class World:
    """Of one seed."""

    def __init__(self, seed: int, graph: BlockGraph, contexts: list[AioContext], directory: Path) -> None:
        self.seed = seed
        self.graph = graph
        self.contexts = contexts
        self.directory = directory
        self.dice = random.Random(seed)
        self.disks = [Disk(self, index) for index in range(2)]
        self.did: Counter[str] = Counter()
        self._names = 0
        self._changes = CHANGES

    async def run(self) -> None:
        """Raises AssertionError with what is wrong."""
        for disk in self.disks:
            await disk.build()
        writers = [Writer(disk, number) for disk in self.disks for number in range(WRITERS)]
        writing = [Coroutine(self.graph.context, writer.live(), on_done=lambda _: None) for writer in writers]
        for each in writing:
            each.schedule(self.graph.context)
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*(self._change_all() for _ in range(CHANGERS)))
                for each in writing:
                    await each
                await self._tidy_up()
        except TimeoutError:
            raise AssertionError(f"hangs: {self._picture()}") from None

    # ---- changes

    async def _change_all(self) -> None:
        acts = [self.drain, self.drain_all, self.reopen, self.insert, self.take_out, self.move, self.rebase, self.visit]
        while self._changes:
            self._changes -= 1
            act = self.dice.choice(acts)
            changing = asyncio.ensure_future(act(self.dice.choice(self.disks)))
            if self.dice.random() < 0.25:
                for _ in range(self.dice.randrange(8)):
                    await asyncio.sleep(0)
                changing.cancel()
            try:
                await changing
                self.did[act.__name__] += 1
            except asyncio.CancelledError:
                self.did["cancelled"] += 1
            except (BlockError, ConfigError) as error:
                self._check_refusal(act, error)
                self.did["refused"] += 1

    def _check_refusal(self, act: Callable[[Disk], Awaitable[None]], error: BlockError | ConfigError) -> None:
        allowed = {
            "move": ("can't be moved to", "is being changed", "not moved"),
            "reopen": ("reopen.seed: no", "cannot support read-write users"),
            "rebase": ("Cannot find device=",),
        }
        allowed = {name: (*words, "is removed already") for name, words in allowed.items()}
        assert any(words in str(error) for words in allowed.get(act.__name__, ())), f"{act.__name__}: {error}"

    async def drain(self, disk: Disk) -> None:
        node = self.dice.choice(disk.nodes)
        async with drained(node):
            self._check_quiet(node)
            await self._idle()
            self._check_quiet(node)
            async with drained(disk.teller.node):
                self._check_quiet(disk.teller.node)
            await self._idle()
            self._check_quiet(node)

    async def drain_all(self, disk: Disk) -> None:
        async with self.graph.drained():
            await self._idle()
            for node in self.graph.nodes.values():
                self._check_quiet(node)

    async def reopen(self, disk: Disk) -> None:
        nodes = self.dice.sample([node for node in disk.nodes if node.driver.name != "copy-on-read"], 2)
        table: dict[str, object] = {
            "discard": self.dice.choice(["ignore", "unmap"]),
            "cache": {"no-flush": self.dice.random() < 0.5},
            "detect-zeroes": self.dice.choice(["off", "on"]),
        }
        if self.dice.random() < 0.2:
            table["read-only"] = True
        disk.teller.refuses_options = self.dice.random() < 0.2
        try:
            await reopen(self.graph, dict.fromkeys(nodes, table), keep=True)
        finally:
            disk.teller.refuses_options = False

    async def insert(self, disk: Disk) -> None:
        self._names += 1
        driver = self.dice.choice(["pass", "raw", "copy-on-read"])
        table = {"driver": driver, "node-name": f"filter{self._names}"}
        disk.filters.append(await insert_filter(self.graph, self._above(disk), table, "filter"))

    async def take_out(self, disk: Disk) -> None:
        if disk.filters:
            node = disk.filters.pop(self.dice.randrange(len(disk.filters)))
            try:
                await remove_filter(self.graph, node)
            except asyncio.CancelledError:
                if not node.closed:
                    disk.filters.append(node)
                raise

    async def move(self, disk: Disk) -> None:
        disk.teller.refuses_home = self.dice.random() < 0.2
        try:
            await move_nodes(disk.teller.node, self.dice.choice(self.contexts), disk.backends)
        finally:
            disk.teller.refuses_home = False

    async def rebase(self, disk: Disk) -> None:
        """Another backing file for the second disk; the first gets a raw node over its lowest, or loses it."""
        if disk.index == 1:
            await set_backing(
                self.graph, self.graph.nodes["overlay"], self.graph.nodes[f"base{self.dice.randrange(2)}"]
            )
            return
        self._names += 1
        table = {"driver": "raw", "node-name": f"filter{self._names}", "file": disk.teller.file.node.name}
        between = await self.graph.add_table(table, "between")
        disk.filters.append(between)
        await replace_node(self.graph, disk.teller.file.node, between)

    async def visit(self, disk: Disk) -> None:
        """A reader comes and goes."""
        node = disk.teller.node
        reader = BlockBackend("reader", self.graph.context, PERM_CONSISTENT_READ, PERM_ALL)

        async def insert() -> None:
            reader.context = node.context
            await reader.insert(node)

        try:
            await at_home(node, insert)
            await self._idle()
        finally:
            await to_end(at_home(reader, reader.remove))

    def _above(self, disk: Disk) -> BlockNode:
        return self.dice.choice([disk.teller.node, *(node for node in disk.filters if not node.closing)])

    async def _idle(self) -> None:
        for _ in range(self.dice.randrange(5)):
            await asyncio.sleep(0)

    def _check_quiet(self, node: BlockNode) -> None:
        # A filter that is taken out flushes what is below it, drained or not.
        users = [request for request in node.tracked.in_order if request.end > request.start]
        assert not users, f"{node} is drained, and has {len(users)} in flight"

    # ---- the end

    async def _tidy_up(self) -> None:
        for disk in self.disks:
            await move_nodes(disk.teller.node, self.graph.context, disk.backends)
            for node in disk.filters:
                if node.parents or node.name in self.graph.nodes:
                    await remove_filter(self.graph, node)
            for backend in disk.backends:
                assert (backend.quiesced, backend.in_flight, len(backend._waiting)) == (0, 0, 0), backend
                await backend.flush()
                await backend.remove()
            self._check_accounts(disk)
            self._check_contents(disk, await disk.contents())
        for node in self.graph.nodes.values():
            assert (node.sections, node.in_flight, node.tracked.in_order, node.flushing) == ([], 0, {}, None), node
            assert all(edge in edge.node.parents for edge in node.children), node
            assert all(edge in edge.parent.children for edge in node.parents), node  # type: ignore[attr-defined]
        assert not self.graph.lock._owners

    def _check_accounts(self, disk: Disk) -> None:
        written = disk.teller.written
        lost = disk.expected - written
        doubled = {name: count for name, count in written.items() if count > 1}
        strange = set(written) - set(disk.expected) - disk.doubtful
        assert not (lost or doubled or strange), f"lost {lost}, doubled {doubled}, never asked for {strange}"
        assert disk.teller.zeroed == disk.expected_zeroes

    def _check_contents(self, disk: Disk, data: bytes) -> None:
        wrong = [slot for slot in range(SLOTS) if not disk.is_right(slot, data[slot * SLOT : (slot + 1) * SLOT])]
        assert not wrong, f"disk {disk.index}: slots {wrong} are wrong"
        assert data[SLOTS * SLOT :] == bytes(SIZE - SLOTS * SLOT)

    def _picture(self) -> str:
        return "; ".join(
            f"{node.name} in {node.context.name}: {node.in_flight} in flight, {len(node.sections)} sections"
            for node in self.graph.nodes.values()
        )
