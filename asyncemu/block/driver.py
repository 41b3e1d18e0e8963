# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockDriver: what an author of a block driver writes.

What a class defines is what it can do: no ``pwritev``, and the node is read-only; no ``flush``, and flushing succeeds
at once (nothing is cached); no ``write_zeroes``, and the node writes zeroes with ``pwritev``; no ``discard``, and
discards are accepted and do nothing, as they are hints. The runtime owns bounds, alignment, in-flight counting, drain.

    class Http(BlockDriver[HttpOptions], name="http"):
        async def open(self) -> int: ...
        async def preadv(self, offset: int, buffers: Buffers) -> None: ...

Life cycle: constructed → ``open`` → any number of requests, several at a time → (no request in flight) ``close``.
``open`` that raises gives back what it took: ``close`` does not follow.
All methods run in the node's home context.
"""

from __future__ import annotations

from typing import ClassVar, TypeVar

from pydantic import Field

from asyncemu.loop import AioContext, HasHome, home
from asyncemu.memory.buffers import Buffers
from asyncemu.plugins import Options, Plugin


class BlockDriverOptions(Options):
    """Keys that every block driver takes."""

    read_only: bool = Field(default=False, description="Refuse writes.")


BlockOptionsT = TypeVar("BlockOptionsT", bound=BlockDriverOptions, covariant=True)


class BlockDriver(Plugin[BlockOptionsT], HasHome):
    """Base of all block drivers."""

    kind = "blockdev"

    #: Options that hold a child node: a node-name, or a nested table that makes a node. The runtime opens the children
    #: first and sets them as attributes of the same name.
    children: ClassVar[tuple[str, ...]] = ()

    #: Offsets and lengths must be multiples of this many bytes (a power of two); set it in ``open`` when it is not 1.
    #: The node pads what does not fit for reads and reads-modifies-writes for writes. When the size is no multiple of
    #: it, the last block reaches past the size: there a read gives zeroes and what is written is dropped.
    request_alignment: int = 1

    #: Buffer addresses must be multiples of this many bytes, their lengths of ``request_alignment`` (direct I/O).
    memory_alignment: int = 1

    def __init__(self, options: BlockOptionsT, node_name: str, context: AioContext) -> None:
        self.options = options
        self.node_name = node_name
        self.context = context
        #: ``open`` may set it: the thing behind can't be written, whatever the options say.
        self.read_only = options.read_only

    @home
    async def open(self) -> int:
        """Get ready; the size in bytes. Raises ConfigError (bad options, missing file) or BlockError."""
        raise TypeError(f"block driver {self.name!r} does not define open()")

    @home
    async def preadv(self, offset: int, buffers: Buffers) -> None:
        """Fill ``buffers`` from ``offset`` bytes on. Raises BlockError or OSError.

        Cancelled, it must not return while anything may still write into ``buffers``: they are guest RAM.
        """
        raise TypeError(f"block driver {self.name!r} does not define preadv()")

    @home
    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        """Write ``buffers`` at ``offset`` bytes. Done means: a later read sees it. Raises BlockError or OSError."""
        raise TypeError(f"block driver {self.name!r} does not define pwritev()")

    @home
    async def flush(self) -> None:
        """All writes that are done survive a crash of the host when this returns. Raises BlockError or OSError."""

    @home
    async def discard(self, offset: int, length: int) -> None:
        """The bytes are not needed any more (a hint)."""

    @home
    async def write_zeroes(self, offset: int, length: int, *, may_unmap: bool = False) -> None:
        """Make the bytes read as zero; ``may_unmap`` allows giving their storage back.

        OSError with EOPNOTSUPP: not this time, the node writes zeroes with ``pwritev``.
        """
        raise TypeError(f"block driver {self.name!r} does not define write_zeroes()")

    @home
    async def detach_context(self) -> None:
        """The node moves to another context: give back what belongs to this one. No request is in flight."""

    @home
    async def attach_context(self) -> None:
        """``self.context`` is the new home, and the caller's: get there what ``detach_context`` has given back.

        OSError or BlockError: it can't work here, and is attached to the old one again.
        """

    @home
    async def close(self) -> None:
        """Give everything back. No request is in flight, none follows."""

    @classmethod
    def defines(cls, method: str) -> bool:
        """Does this class (or a base of it below BlockDriver) define ``method``?"""
        return getattr(cls, method) is not getattr(BlockDriver, method)
