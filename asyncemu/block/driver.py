# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockDriver: what an author of a block driver writes.

What a class defines is what it can do: no ``pwritev``, and the node is read-only; no ``flush``, and flushing succeeds
at once (nothing is cached); no ``write_zeroes``, and the node writes zeroes with ``pwritev``; no ``discard``, and
discards are accepted and do nothing, as they are hints; no ``block_status``, and all is data. The node owns bounds,
alignment, splitting, flags that the driver does not know, in-flight counting, drain.

    class Http(BlockDriver[HttpOptions], name="http"):
        async def open(self) -> int: ...
        async def preadv(self, offset: int, buffers: Buffers) -> None: ...

Life cycle: constructed → children set → ``open`` → any number of requests, several at a time → (no request in flight)
``close``. ``open`` that raises gives back what it took: ``close`` does not follow.
All methods run in the node's home context; class methods in the caller's.

QEMU: BlockDriver, with the names of its functions less their prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, TypeVar

from asyncemu.block.flags import ROLE_FILTER, ROLE_FILTERED
from asyncemu.block.limits import BlockLimits
from asyncemu.block.open_mode import OpenMode
from asyncemu.block.types import (
    BlockStatus,
    CheckResult,
    ImageInfo,
    Measurement,
    Preallocation,
    Reopening,
    Repair,
    SnapshotInfo,
)
from asyncemu.loop import AioContext, HasHome, home
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import PlainOptions, option
from asyncemu.plugins import Plugin

if TYPE_CHECKING:
    from asyncemu.block.backend import BlockBackend
    from asyncemu.block.child import BlockChild
    from asyncemu.block.nbd.tls import TlsCredentials
    from asyncemu.block.node import BlockNode
    from asyncemu.block.throttle.registry import ThrottleGroups


class CacheOptions(PlainOptions):
    """How the host's page cache takes part."""

    direct: bool = option(default=False, description="Bypass the host's page cache (O_DIRECT).")
    no_flush: bool = option(
        default=False, description="Ignore flushes: fast, and a crash of the host may ruin the image."
    )


class BlockDriverOptions(PlainOptions):
    """Keys that every block driver takes; QEMU's names."""

    read_only: bool = option(default=False, description="Refuse writes.")
    auto_read_only: bool = option(default=False, description="Open it read-only when it can't be written.")
    force_share: bool = option(default=False, description="Let others write meanwhile; only for reading.")
    discard: Literal["ignore", "unmap"] = option(
        default="ignore", description="Pass discards on, so that storage is given back, or drop them."
    )
    detect_zeroes: Literal["off", "on", "unmap"] = option(
        default="off", description="Write data that are zeroes as zeroes; unmap: give their storage back."
    )
    cache: CacheOptions = option(default=CacheOptions(), description="Use of the host's page cache.")


BlockOptionsT = TypeVar("BlockOptionsT", bound=BlockDriverOptions, covariant=True)

#: Told how much of a long operation is done: (done, total), in units of the caller's choice.
Progress = Callable[[int, int], None]


class ChildSlot(NamedTuple):
    """A child that a driver has: an option of that name holds a node-name or a nested table."""

    name: str
    #: ROLE_* of flags.py.
    role: int = ROLE_FILTER
    optional: bool = False


class Environment(Protocol):
    """What the graph does for a driver. Home context of the driver's node."""

    async def open_child(self, slot: ChildSlot, table: Mapping[str, object]) -> BlockChild:
        """For ``open``: a child that the image names, not the options (an external data file). ConfigError."""

    def refresh_child(self, child: BlockChild, role: int) -> None:
        """For ``open``: the role of ``child`` turned out to be another one."""

    @property
    def throttle_groups(self) -> ThrottleGroups:
        """Those that a node may join."""

    @property
    def writes_in_place(self) -> bool:
        """See BlockGraph."""

    def secret(self, name: str, where: str) -> bytes:
        """The secret that an option ``where`` names. ConfigError: there is none."""

    def tls_credentials(self, name: str, where: str) -> TlsCredentials:
        """The TLS credentials that an option ``where`` names. ConfigError: there are none."""


class BlockDriver(Plugin[BlockOptionsT], HasHome):
    """Base of all block drivers."""

    kind = "blockdev"

    # ---- what a class says about itself

    #: Options that hold a child node: a node-name, or a nested table that makes a node. The runtime opens the children
    #: first and sets them, BlockChild or None, as attributes of the same name.
    children: ClassVar[tuple[ChildSlot, ...]] = ()
    #: A format gives a ``file`` child's bytes a meaning; a protocol (False, and no child) stores them; a filter passes
    #: requests on to a child with ROLE_FILTERED.
    is_format: ClassVar[bool] = False
    #: Protocol prefix of file names (``nbd`` in ``nbd://host``); empty: none.
    protocol: ClassVar[str] = ""
    #: Has a child ``backing`` that it reads what is not allocated from.
    supports_backing: ClassVar[bool] = False
    #: Options of ``img create -o``; None: can't create.
    creation: ClassVar[type[PlainOptions] | None] = None

    #: Request flags that the methods take as a further argument: FUA and so on for ``pwritev``; MAY_UNMAP, FUA,
    #: NO_FALLBACK for ``write_zeroes``. The node does without the others: it flushes behind a write with FUA, say.
    write_flags: int = 0
    zero_flags: int = 0
    #: May a write past the end make it longer? Else that is ENOSPC.
    growable: bool = False

    def __init__(self, options: BlockOptionsT, node_name: str, context: AioContext) -> None:
        self.options = options
        self.node_name = node_name
        self.context = context
        #: ``open`` may set it: the thing behind can't be written, whatever the options say.
        self.read_only = options.read_only
        #: ``open`` sets what is not so by itself.
        self.limits = BlockLimits()
        #: Set by the graph before ``open``.
        self.environment: Environment
        self.mode: OpenMode
        self.node: BlockNode
        #: A format with ``supports_backing`` that finds a backing file named in its image sets these in ``open``; the
        #: graph opens it when the options don't say otherwise.
        self.backing_file = ""
        self.backing_format = ""
        #: The name that opens it again, where the option ``filename`` is not that. QEMU: exact_filename.
        self.exact_filename = ""

    # ---- life cycle

    @home
    async def open(self) -> int:
        """Get ready; the size in bytes. Raises ConfigError (bad options, missing file), BlockError or OSError."""
        raise TypeError(f"block driver {self.name!r} does not define open()")

    @home
    async def close(self) -> None:
        """Give everything back. No request is in flight, none follows."""

    @home
    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        """Make ready for other options of the same type; None: the driver has nothing to do.

        Drained, and flushed when it is to become read-only. ``self.read_only`` is the new one when permissions are
        checked, which comes next, ``self.options`` behind ``commit``, which may correct the first. A child in
        ``options`` is the old one. Raises ConfigError with the option that can't be changed.
        """
        return None

    @home
    def drain_begin(self) -> None:
        """A drained section begins: let requests that wait for something (a rate, a connection) go on or fail."""

    @home
    def drain_end(self) -> None:
        """The drained section is over."""

    @home
    async def detach_context(self) -> None:
        """The node moves to another context: give back what belongs to this one. No request is in flight."""

    @home
    async def attach_context(self) -> None:
        """``self.context`` is the new home, and the caller's: get there what ``detach_context`` has given back.

        OSError or BlockError: it can't work here, and is attached to the old one again.
        """

    @home
    def child_role(self, slot: ChildSlot) -> int:
        """The role of the child of ``slot``, where the options decide it."""
        return slot.role

    @home
    def child_resized(self, child: BlockChild) -> int | None:
        """``child`` has another size: ours now, or None when it stays. The default: a filter's is its child's."""
        return child.size if child.role & ROLE_FILTERED else None

    @home
    def check_permissions(self, permissions: int, shared: int) -> None:
        """May the parents have ``permissions`` and leave ``shared`` to others? BlockError or OSError: no.

        One of the next two methods follows.
        """

    @home
    def set_permissions(self, permissions: int, shared: int) -> None:
        """They have them."""

    @home
    def abort_permissions(self) -> None:
        """They don't; forget ``check_permissions``."""

    @home
    def child_permissions(self, child: BlockChild, permissions: int, shared: int) -> tuple[int, int]:
        """What this node needs of ``child``, and leaves to its other parents, when its own parents have the first and
        leave the second to others. QEMU: bdrv_child_perm; the default is bdrv_default_perms."""
        from asyncemu.block.permissions import default_child_permissions

        return default_child_permissions(self, child, permissions, shared)

    # ---- requests

    @home
    async def preadv(self, offset: int, buffers: Buffers) -> None:
        """Fill ``buffers`` from ``offset`` bytes on. Raises BlockError or OSError.

        Cancelled, it must not return while anything may still write into ``buffers``: they are guest RAM.
        """
        raise TypeError(f"block driver {self.name!r} does not define preadv()")

    @home
    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        """Write ``buffers`` at ``offset`` bytes. Done means: a later read sees it. Raises BlockError or OSError.

        With ``write_flags``, define it with a third argument ``flags: int = 0``.
        """
        raise TypeError(f"block driver {self.name!r} does not define pwritev()")

    @home
    async def pwritev_compressed(self, offset: int, buffers: Buffers) -> None:
        """As ``pwritev``, stored compressed. Whole clusters, or up to the end; what is there may be refused."""
        raise TypeError(f"block driver {self.name!r} does not define pwritev_compressed()")

    @home
    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """Make the bytes read as zero. ``flags``: those of ``zero_flags``.

        OSError with ENOTSUP: not this time, the node writes zeroes with ``pwritev``.
        """
        raise TypeError(f"block driver {self.name!r} does not define write_zeroes()")

    @home
    async def discard(self, offset: int, length: int) -> None:
        """The bytes are not needed any more (a hint). OSError with ENOTSUP is as good as success."""

    @home
    async def flush(self) -> None:
        """All writes that are done survive a crash of the host when this returns. Raises BlockError or OSError.

        The node flushes the children that hold data itself, after ``flush_to_os``; a driver whose children are all that
        is to be flushed defines ``flush_to_os`` only.
        """

    @home
    async def flush_to_os(self) -> None:
        """Write what the driver caches (metadata) into its children."""

    @home
    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        """What the bytes from ``offset`` on are: at least the first block of alignment, at most ``length`` bytes.

        ``want_zero``: zeroes matter; otherwise allocation does, and a cheaper answer that takes zeroes for data is as
        good. STATUS_ALLOCATED is the node's to set except for formats with a backing file.
        """
        raise TypeError(f"block driver {self.name!r} does not define block_status()")

    @home
    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        """Make it ``size`` bytes, at least that when not ``exact``; the new size.

        ``zero``: what is new must read as zeroes whatever is below. ConfigError or BlockError (ENOTSUP).
        """
        raise TypeError(f"block driver {self.name!r} does not define truncate()")

    @home
    async def copy_range_from(
        self, offset: int, target: BlockChild, target_offset: int, length: int, read_flags: int, write_flags: int
    ) -> None:
        """Pass a copy on to the child that has the bytes, or to ``target.copy_range_to``. ENOTSUP: read and write."""
        raise TypeError(f"block driver {self.name!r} does not define copy_range_from()")

    @home
    async def copy_range_to(
        self, source: BlockChild, source_offset: int, offset: int, length: int, read_flags: int, write_flags: int
    ) -> None:
        """The other end: copy from ``source``, which has the bytes itself. ENOTSUP: read and write."""
        raise TypeError(f"block driver {self.name!r} does not define copy_range_to()")

    @home
    async def debug_event(self, event: str) -> None:
        """A parent passes a point that blkdebug knows by the name ``event``."""

    # ---- the image

    @home
    async def allocated_size(self) -> int:
        """Bytes of storage that the host spends. OSError with ENOTSUP: not known. The default asks the children."""
        total = 0
        for child in self.node.data_children():
            total += await child.node.driver.allocated_size()
        return total

    @home
    def has_zero_init(self) -> bool:
        """Does a new image (just created, just grown) read as zeroes?"""
        return False

    @home
    async def image_info(self) -> ImageInfo:
        """What ``img info`` shows beyond name and size."""
        return ImageInfo()

    @home
    def statistics(self) -> Mapping[str, int] | None:
        """What QMP's BlockStatsSpecific has of this driver, by its names; None: nothing."""
        return None

    @home
    async def check(self, repair: Repair, progress: Progress) -> CheckResult:
        """Look for damage, and repair it. Drained."""
        raise TypeError(f"block driver {self.name!r} does not define check()")

    @home
    async def make_empty(self) -> None:
        """Drop all data of this layer; reads come from the backing file."""
        raise TypeError(f"block driver {self.name!r} does not define make_empty()")

    @home
    async def change_backing_file(self, backing_file: str, backing_format: str) -> None:
        """Store these names in the image; the child is the graph's matter."""
        raise TypeError(f"block driver {self.name!r} does not define change_backing_file()")

    @home
    async def amend(self, options: Mapping[str, str], progress: Progress, force: bool) -> None:
        """Change creation options of an existing image. Drained. ConfigError."""
        raise TypeError(f"block driver {self.name!r} does not define amend()")

    @home
    async def snapshot_create(self, snapshot: SnapshotInfo) -> SnapshotInfo:
        """Take an internal snapshot; what was stored (the id is the driver's to choose)."""
        raise TypeError(f"block driver {self.name!r} does not define snapshot_create()")

    @home
    async def snapshot_goto(self, id_or_name: str) -> None:
        """Make the disk what it was. BlockError with ENOENT: no such snapshot."""
        raise TypeError(f"block driver {self.name!r} does not define snapshot_goto()")

    @home
    async def snapshot_delete(self, id: str, name: str) -> None:
        """Delete the snapshot that has both, where they are not empty."""
        raise TypeError(f"block driver {self.name!r} does not define snapshot_delete()")

    @home
    async def snapshot_list(self) -> Sequence[SnapshotInfo]:
        """All internal snapshots, in the image's order."""
        raise TypeError(f"block driver {self.name!r} does not define snapshot_list()")

    @home
    async def snapshot_load(self, id: str, name: str) -> None:
        """Read from the snapshot from now on; the node is read-only."""
        raise TypeError(f"block driver {self.name!r} does not define snapshot_load()")

    @home
    async def save_vmstate(self, offset: int, buffers: Buffers) -> None:
        """Write VM state, ``offset`` bytes from its start."""
        raise TypeError(f"block driver {self.name!r} does not define save_vmstate()")

    @home
    async def load_vmstate(self, offset: int, buffers: Buffers) -> None:
        """Read it."""
        raise TypeError(f"block driver {self.name!r} does not define load_vmstate()")

    # ---- class methods

    @classmethod
    def probe(cls, head: bytes, filename: str) -> int:
        """How sure is this format that an image that begins with ``head`` is its own? 0 not at all, 100 certain."""
        return 0

    @classmethod
    async def create(cls, file: BlockBackend, options: PlainOptions) -> None:
        """Formats: make ``file``, which is empty, an image. ``options``: an instance of ``creation``."""
        raise TypeError(f"block driver {cls.name!r} does not define create()")

    @classmethod
    async def create_file(cls, table: Mapping[str, object], options: PlainOptions) -> None:
        """Protocols: make what ``table`` (as of ``open``) names. ConfigError, OSError."""
        raise TypeError(f"block driver {cls.name!r} does not define create_file()")

    @classmethod
    async def measure(cls, options: PlainOptions, source: BlockBackend | None) -> Measurement:
        """What an image with these creation options and the contents of ``source`` would need."""
        raise TypeError(f"block driver {cls.name!r} does not define measure()")

    @classmethod
    def defines(cls, method: str) -> bool:
        """Does this class (or a base of it below BlockDriver) define ``method``?"""
        return getattr(cls, method) is not getattr(BlockDriver, method)
