# SPDX-License-Identifier: GPL-2.0-or-later
"""TableCache: so many L2 slices or refcount blocks in memory, those that have changed among them.

    table = cache.tables.get(offset) or await cache.load(offset)
    table.payload[index] = entry                no await in between
    table.mark(start, end)                      the bytes that have changed

What it guarantees, to the coroutines of one context:
- what ``load`` and ``create`` return is in the cache until the caller next suspends;
- a table is read once, however many wait for it, and one that was made anew meanwhile is not overwritten by what was
  read;
- a table that has changed, or is being written, is not given up.
When and in which order changed tables are written is not its matter but metadata.py's: ``write_changed`` asks for it
when there is no room left. A bound on memory: ``capacity`` tables, and one more for each coroutine that loads one.

Who stays is decided by second chance: as good as least recently used for this, and a hit costs no more than setting an
attribute. QEMU: Qcow2Cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from asyncemu.block.child import BlockChild

PayloadT = TypeVar("PayloadT")


class Codec(Protocol[PayloadT]):
    """How tables are kept in memory."""

    @property
    def size(self) -> int:
        """Bytes of a table."""

    def unpack(self, data: bytes | bytearray) -> PayloadT:
        """What to keep of the bytes read."""

    def empty(self) -> PayloadT:
        """The same for a table of zeroes."""

    def pack(self, payload: PayloadT, start: int, end: int) -> bytes:
        """The bytes [start, end) to write; multiples of 8."""


class Table(Generic[PayloadT]):
    """One table, at ``offset`` bytes of the file."""

    __slots__ = ("changed_end", "changed_start", "new", "offset", "payload", "used", "writing")

    def __init__(self, offset: int, payload: PayloadT) -> None:
        self.offset = offset
        self.payload = payload
        #: Again, since the cache last looked for one to give up: that it was used once says little.
        self.used = False
        #: Since the last ``drop_unused``.
        self.new = True
        #: Bytes of the table that differ from the file: [start, end).
        self.changed_start = self.changed_end = 0
        #: Is a copy on its way to the file?
        self.writing = False

    def mark(self, start: int, end: int) -> None:
        """The bytes [start, end) have changed; multiples of 8."""
        if self.changed_start == self.changed_end:
            self.changed_start, self.changed_end = start, end
            return
        if start < self.changed_start:
            self.changed_start = start
        if end > self.changed_end:
            self.changed_end = end

    @property
    def changed(self) -> bool:
        """Does it differ from the file?"""
        return self.changed_start != self.changed_end


class _Loading:
    """A table that is being read."""

    __slots__ = ("over", "stale")

    def __init__(self) -> None:
        self.over: asyncio.Future[None] | None = None
        #: What is being read is not what is there any more.
        self.stale = False


class TableCache(Generic[PayloadT]):
    """Home context of the node."""

    def __init__(
        self,
        file: BlockChild,
        codec: Codec[PayloadT],
        capacity: int,
        load_event: str,
        write_changed: Callable[[], Awaitable[None]],
    ) -> None:
        self.file = file
        self.codec = codec
        #: Tables.
        self.capacity = capacity
        #: By offset, in the order in which they are looked at to be given up.
        self.tables: dict[int, Table[PayloadT]] = {}
        self._load_event = load_event
        self._write_changed = write_changed
        self._loading: dict[int, _Loading] = {}

    async def load(self, offset: int) -> Table[PayloadT]:
        """The table at ``offset``, from the file when it is not here. Raises what reading, or making room, raises."""
        while True:
            table = self.tables.get(offset)
            if table is not None:
                table.used = True
                return table
            loading = self._loading.get(offset)
            if loading is None:
                table = await self._read(offset)
                if table is not None:
                    return table
            else:
                if loading.over is None:
                    loading.over = asyncio.get_running_loop().create_future()
                # Shielded: several wait for it, and one of them may be cancelled.
                await asyncio.shield(loading.over)

    async def _read(self, offset: int) -> Table[PayloadT] | None:
        """None: it has become something else meanwhile."""
        loading = self._loading[offset] = _Loading()
        try:
            if len(self.tables) >= self.capacity:
                await self._make_room()
            if self.file.debugged:
                await self.file.debug_event(self._load_event)
            data = await self.file.pread(offset, self.codec.size)
            if loading.stale:
                return None
            table = self.tables[offset] = Table(offset, self.codec.unpack(data))
            return table
        finally:
            if self._loading.get(offset) is loading:
                del self._loading[offset]
            if loading.over is not None:
                loading.over.set_result(None)

    async def create(self, offset: int) -> Table[PayloadT]:
        """A table of zeroes at ``offset``, whatever the file has there; as changed as a whole."""
        if len(self.tables) >= self.capacity:
            await self._make_room()
        table = self.put(offset, self.codec.empty())
        table.mark(0, self.codec.size)
        return table

    def put(self, offset: int, payload: PayloadT) -> Table[PayloadT]:
        """A table whose contents are known, unchanged; what was known of that place before is forgotten."""
        self.forget(offset, self.codec.size)
        table = self.tables[offset] = Table(offset, payload)
        return table

    def forget(self, offset: int, length: int) -> None:
        """The clusters there are used for something else: nothing of them is written any more."""
        size = self.codec.size
        if length // size > len(self.tables) + len(self._loading):
            offsets = [at for at in (*self.tables, *self._loading) if offset <= at < offset + length]
        else:
            offsets = list(range(offset, offset + length, size))
        for at in offsets:
            self.tables.pop(at, None)
            loading = self._loading.pop(at, None)
            if loading is not None:
                loading.stale = True

    def forget_all(self) -> None:
        """The file has been changed by others (repair): read everything anew. Changes are dropped."""
        for offset in [*self.tables, *self._loading]:
            self.forget(offset, self.codec.size)

    def changed_tables(self) -> list[Table[PayloadT]]:
        """Those that differ from the file, in the order of their offsets."""
        return sorted((table for table in self.tables.values() if table.changed), key=lambda table: table.offset)

    async def _make_room(self) -> None:
        """One less than ``capacity``, or as few as there can be."""
        tables = self.tables
        while len(tables) >= self.capacity:
            # Twice round: the first time, each may have been used.
            for _ in range(2 * len(tables)):
                offset, table = next(iter(tables.items()))
                del tables[offset]
                if not (table.used or table.writing or table.changed):
                    break
                table.used = False
                tables[offset] = table
            else:
                if not self.changed_tables():
                    return  # all are being written, by others who make room, too
                await self._write_changed()

    def resize(self, capacity: int) -> None:
        """Another capacity, from the next table on."""
        self.capacity = capacity

    def drop_unused(self) -> None:
        """Give up what has not been used since the last call. QEMU: qcow2_cache_clean_unused."""
        for offset, table in list(self.tables.items()):
            if table.used or table.new or table.writing or table.changed:
                table.used = table.new = False
            else:
                del self.tables[offset]
