# SPDX-License-Identifier: GPL-2.0-or-later
"""PreallocateDriver: storage for a file that grows is provided in large pieces, ahead. QEMU: block/preallocate.c.

    0                         data end         zero from          file end
    |  what readers see            |                 |  zeroes, provided ahead  |

A write past the end of the file first writes zeroes far past it, at once and without buffers; the next ones find their
place there. The parents see the end of the data only. What is ahead is cut off when the node is closed, and when its
parents give up the permission to write or to resize. While they have both, nobody else may change the size.
"""

from __future__ import annotations

from asyncemu.block.child import BlockChild
from asyncemu.block.driver import BlockDriverOptions
from asyncemu.block.filter import FilterDriver, FilterOptions
from asyncemu.block.flags import NO_FALLBACK, NO_WAIT, PERM_RESIZE, PERM_WRITE, SERIALISING
from asyncemu.block.types import Preallocation, Reopening
from asyncemu.coroutines import Coroutine, start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size

_SECTOR = 512

#: What cutting off and writing ahead need.
_BOTH = PERM_WRITE | PERM_RESIZE


class PreallocateOptions(FilterOptions):
    """Keys of the ``preallocate`` driver; QEMU's names."""

    prealloc_align: Size = option(default=1 << 20, description="The file's end is at a multiple of it.")
    prealloc_size: Size = option(default=128 << 20, description="How much to provide ahead.")


class PreallocateDriver(FilterDriver[PreallocateOptions], name="preallocate"):
    """Knows where the data, the zeroes and the file end, while its parents may write and resize."""

    description = "Provides the storage of a growing file ahead."

    #: End of what the parents see, in bytes; None: not ours to say, as they lack a permission.
    _data_end: int | None = None
    #: From here up to the end of the file all is zero.
    _zero_from = 0
    #: Cuts off what is ahead, when the permissions are gone, and leaves so many bytes.
    _dropping: Coroutine[None] | None = None
    _dropping_to = 0

    async def open(self) -> int:
        """ConfigError, in QEMU's words."""
        self._check(self.options)
        return await super().open()

    def _check(self, options: PreallocateOptions) -> None:
        align = int(options.prealloc_align)
        if align % _SECTOR:
            raise ConfigError(
                "prealloc-align", f"prealloc-align parameter of preallocate filter is not aligned to {_SECTOR}"
            )
        least = self.file.node.limits.request_alignment
        if align % least:
            raise ConfigError(
                "prealloc-align",
                "prealloc-align parameter of preallocate filter is not aligned to underlying node request alignment "
                f"({least})",
            )

    async def close(self) -> None:
        """Cut off what is ahead."""
        if self._dropping is not None:
            await self._dropping
        if self._data_end is not None:
            await self._drop(self._data_end)

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        assert isinstance(options, PreallocateOptions)
        self._check(options)
        return None

    # ---- permissions

    def child_permissions(self, child: BlockChild, permissions: int, shared: int) -> tuple[int, int]:
        """As any filter's; and with both, nobody else writes or resizes."""
        permissions, shared = super().child_permissions(child, permissions, shared)
        if permissions & _BOTH == _BOTH:
            shared &= ~_BOTH
        return permissions, shared

    def set_permissions(self, permissions: int, shared: int) -> None:
        """Take the ends over, or give them up."""
        if permissions & _BOTH == _BOTH:
            if self._data_end is None:
                dropping = self._dropping is not None and not self._dropping.done()
                self._all_end_at(self._dropping_to if dropping else self.file.size)
        elif self._data_end is not None:
            self._dropping_to, self._data_end = self._data_end, None
            # Begins in place: whoever comes next waits for it at the node below.
            self._dropping = start(self.context, self._drop(self._dropping_to))

    def child_resized(self, child: BlockChild) -> int | None:
        """What is ahead is nobody's business."""
        return child.size if self._data_end is None else None

    async def _drop(self, data_end: int) -> None:
        if self.file.size > data_end and not self.file.node.read_only:
            await self.file.truncate(data_end, exact=True)

    def _all_end_at(self, end: int) -> None:
        self._data_end = self._zero_from = end

    # ---- requests

    async def pwritev(self, offset: int, buffers: Buffers, flags: int = 0) -> None:
        await self._provide(offset, buffers.nbytes, zeroes=False)
        await super().pwritev(offset, buffers, flags)

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        """Nothing to do for what is provided already, as that is zero."""
        if await self._provide(offset, length, zeroes=not flags & ~NO_FALLBACK):
            return
        await super().write_zeroes(offset, length, flags)

    async def _provide(self, offset: int, length: int, *, zeroes: bool) -> bool:
        """Bytes will be written. True: they are to be ``zeroes``, and are so now, within the file."""
        end, before = offset + length, self._data_end
        if before is None or end <= before:
            return False
        self._data_end = end
        if not zeroes:
            self._zero_from = end
        file_end = self.file.size
        if end <= file_end:
            return zeroes and offset >= self._zero_from
        align = self.file.node.limits.request_alignment
        # Not over what earlier requests are about to write.
        first = max(file_end, before)
        first = -(-(min(offset, first) if zeroes else first) // align) * align
        step = max(int(self.options.prealloc_align), align)
        last = -(-(max(first, end) + int(self.options.prealloc_size)) // step) * step
        try:
            await self.file.write_zeroes(first, last - first, NO_FALLBACK | SERIALISING | NO_WAIT)
        except (BlockError, OSError):
            # Not possible there, or in the way of another request: the write makes the file grow by itself.
            return False
        return zeroes and first <= offset

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        """What the parents ask to be provided may be there already."""
        if self._data_end is not None and size >= self._data_end:
            if preallocation == "falloc" and size <= self.file.size:
                self._data_end = size
                return size
            if preallocation != "falloc":
                # So that "off" takes no storage, and "full" is written.
                await self._drop(self._data_end)
        await self.file.truncate(size, exact=exact, preallocation=preallocation, zero=zero)
        if self._data_end is None:
            return self.file.size
        self._all_end_at(size)
        return size
