# SPDX-License-Identifier: GPL-2.0-or-later
"""BlkverifyDriver: does the node ``test`` do what the node ``raw`` does? QEMU: block/blkverify.c.

Each read and write goes to both. What they do differently is a defect of one of them: it is logged in QEMU's words, and
the request fails with a VerifyError, at which a tool ends.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable
from typing import Any, Final, TypeAlias

from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriverOptions, ChildSlot
from asyncemu.block.filter import FilterDriver
from asyncemu.block.flags import ROLE_DATA, ROLE_FILTER
from asyncemu.block.homes import to_end
from asyncemu.block.types import Preallocation
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option

_Error: TypeAlias = BlockError | OSError

#: Bytes that are compared at once.
_BLOCK: Final = 1 << 16


class BlkverifyOptions(BlockDriverOptions):
    """Keys of the ``blkverify`` driver; QEMU's names."""

    test: str | dict[str, Any] = option(description="The node that is put to the test, or a table that makes it.")
    raw: str | dict[str, Any] = option(description="The node that is right, or a table that makes it.")


class VerifyError(BlockError):
    """The two differ; ``str`` is QEMU's line."""

    def __init__(self, node_name: str, line: str) -> None:
        super().__init__(node_name, errno.EIO)
        self.line = line

    def __str__(self) -> str:
        return self.line


class BlkverifyDriver(FilterDriver[BlkverifyOptions], name="blkverify"):
    """Two children that get the same requests."""

    description = "Compares what two nodes do."
    children = (ChildSlot("raw", ROLE_FILTER), ChildSlot("test", ROLE_DATA))
    protocol = "blkverify"
    raw: BlockChild
    test: BlockChild

    @property
    def below(self) -> BlockChild:
        return self.raw

    async def open(self) -> int:
        """The size of ``test``."""
        await super().open()
        self.write_flags = self.zero_flags = 0  # as QEMU's
        self.read_only = self.read_only or self.test.node.read_only
        self.growable = self.growable and self.test.node.driver.growable
        return self.test.size

    def child_resized(self, child: BlockChild) -> int | None:
        return child.size if child is self.test else None

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        length = buffers.nbytes
        expected = memoryview(bytearray(length))
        await self._both(
            "read",
            offset,
            length,
            self.test.preadv(offset, buffers),
            self.raw.preadv(offset, Buffers((expected,)) if length else Buffers()),
        )
        difference = _first_difference(buffers, expected)
        if difference is not None:
            raise self._differ("read", offset, length, f"contents mismatch at offset {offset + difference}")

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        # The guest may change its memory meanwhile: both get the same.
        data = Buffers.of(buffers.tobytes())
        await self._both("write", offset, data.nbytes, self.test.pwritev(offset, data), self.raw.pwritev(offset, data))

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """As any write: QEMU's has nothing of its own for zeroes."""
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    async def discard(self, offset: int, length: int) -> None:
        """Dropped: what is discarded may read as anything, and the two need not agree."""

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        await self.raw.truncate(size, exact=exact, preallocation=preallocation, zero=zero)
        await self.test.truncate(size, exact=exact, preallocation=preallocation, zero=zero)
        return self.test.size

    # ---- private

    async def _ends(self, test: Awaitable[None], raw: Awaitable[None]) -> tuple[_Error | None, _Error | None]:
        """How the two end, which run at once."""
        first = start(self.context, _ended(test))
        second = await _ended(raw)
        return await first, second

    async def _both(self, what: str, offset: int, length: int, test: Awaitable[None], raw: Awaitable[None]) -> None:
        """Do both at once. They are to end in the same way; then this does, too."""
        # Also when cancelled: somebody may still be at the buffers.
        result, second = await to_end(self._ends(test, raw))
        if _number(result) != _number(second):
            line = f"return value mismatch {-_number(result)} != {-_number(second)}"
            raise self._differ(what, offset, length, line)
        if result is not None:
            raise result

    def _differ(self, what: str, offset: int, length: int, how: str) -> VerifyError:
        import logging

        line = f"blkverify: {what} offset={offset} bytes={length} {how}"
        logging.getLogger("asyncemu.block.blkverify").error("%s", line)
        return VerifyError(self.node_name, line)


async def _ended(request: Awaitable[None]) -> _Error | None:
    """How it ended."""
    try:
        await request
    except (BlockError, OSError) as error:
        return error
    return None


def _number(error: _Error | None) -> int:
    return 0 if error is None else error.errno or errno.EIO


def _first_difference(buffers: Buffers, expected: memoryview) -> int | None:
    """Index of the first byte that differs; None: there is none."""
    position = 0
    for view in buffers:
        for begin in range(0, len(view), _BLOCK):
            # Copies: memoryviews are compared byte by byte.
            one = view[begin : begin + _BLOCK].tobytes()
            other = expected[position : position + len(one)].tobytes()
            if one != other:
                return position + next(index for index, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
            position += len(one)
    return None
