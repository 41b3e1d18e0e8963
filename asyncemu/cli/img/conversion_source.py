# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``img convert`` reads: images behind each other, as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from asyncemu.block.flags import STATUS_DATA, STATUS_ZERO
from asyncemu.block.status import block_status_above
from asyncemu.cli.img.convert_options import SECTOR
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.opening import Image
from asyncemu.cli.tools.report import warn
from asyncemu.errors import BlockError

#: What to do with a piece: read and write it, write zeroes, or leave it to the target's backing file.
DATA: Final = "data"
ZERO: Final = "zero"
BACKING: Final = "backing"


class Piece(NamedTuple):
    """Bytes that are all to be treated in one way."""

    offset: int
    length: int
    kind: str


class ConcatenatedSource:
    """``find`` answers in order of offsets, one at a time; ``read`` may be called several at a time."""

    def __init__(self, images: Sequence[Image], *, backing_size: int | None, salvage: bool, quiet: bool) -> None:
        """``backing_size``: bytes of the target's backing file, None for none."""
        self._images = images
        self._backing_size = backing_size
        self._salvage = salvage
        self._quiet = quiet
        #: Where each begins, and where the last one ends.
        self._starts = [0]
        for image in images:
            self._starts.append(self._starts[-1] + image.size)
        self.size = self._starts[-1]
        #: Pieces that end within an image end at a multiple of this, where they can: the image's request alignment, or
        #: its clusters, so that none is read twice.
        self._alignments = [max(SECTOR, image.node.limits.request_alignment) for image in images]
        self._known = Piece(0, 0, DATA)

    async def look_at_clusters(self) -> None:
        """Before ``find``."""
        for at, image in enumerate(self._images):
            info = await image.node.driver.image_info()
            if info.cluster_size:
                self._alignments[at] = max(self._alignments[at], info.cluster_size)

    def rewind(self) -> None:
        """``find`` begins again."""
        self._known = Piece(0, 0, DATA)

    async def find(self, offset: int) -> Piece:
        """The piece at ``offset``, as long as it is known to be. ToolError."""
        known = self._known
        end = known.offset + known.length
        if offset >= end:
            known = self._known = await self._look(offset)
            end = known.offset + known.length
        return Piece(offset, end - offset, known.kind)

    async def _look(self, offset: int) -> Piece:
        at = self._image_at(offset)
        image, start = self._images[at], self._starts[at]
        flags, length = await self._status(image, offset - start, self._starts[at + 1] - offset)
        length = -(-length // SECTOR) * SECTOR
        tail = (offset - start + length) % self._alignments[at]
        if length > tail:
            length -= tail
        backing = self._backing_size
        behind_backing = False
        if backing is not None:
            if offset >= backing:
                behind_backing = True
            else:
                # From there on zeroes are had by not writing.
                length = min(length, backing - offset)
        if flags & STATUS_ZERO:
            return Piece(offset, length, BACKING if behind_backing else ZERO)
        if flags & STATUS_DATA or backing is None:
            return Piece(offset, length, DATA)
        return Piece(offset, length, BACKING)

    async def _status(self, image: Image, offset: int, length: int) -> tuple[int, int]:
        """Flags, and bytes that they hold for."""
        while True:
            try:
                if self._backing_size is None:
                    status = await image.block_status(offset, length)
                else:
                    # What is behind the image is behind the target, too.
                    base = image.node.backing
                    left = max(image.backend.size - offset, 0)
                    status, _ = await block_status_above(
                        image.node, base.node if base is not None else None, offset, min(length, left)
                    )
                    if not left:
                        return STATUS_ZERO, length
                return status.flags, status.length
            except BlockError as error:
                reason = os.strerror(error.errno)
                if not self._salvage:
                    raise ToolError(f"error while reading block status at offset {offset}: {reason}") from error
                if length > SECTOR:
                    # Around the bad place, in ever smaller steps.
                    length = -(-length // (4 * SECTOR)) * SECTOR
                    continue
                self._warn(f"error while reading block status at offset {offset}: {reason}")
                return STATUS_DATA, SECTOR

    async def read(self, offset: int, view: memoryview) -> None:
        """Fill ``view``. BlockError, unless it is salvaged: then what can't be read is zero."""
        while view:
            at = self._image_at(offset)
            part = view[: self._starts[at + 1] - offset]
            await self._read(self._images[at], offset - self._starts[at], part)
            offset += len(part)
            view = view[len(part) :]

    async def _read(self, image: Image, offset: int, view: memoryview) -> None:
        try:
            await image.read(offset, view)
        except BlockError as error:
            if not self._salvage:
                raise
            if len(view) <= SECTOR:
                self._warn(f"error while reading offset {offset}: {os.strerror(error.errno)}")
                view[:] = bytes(len(view))
                return
            for start in range(0, len(view), SECTOR):
                await self._read(image, offset + start, view[start : start + SECTOR])

    def place(self, offset: int) -> tuple[Image, int, int]:
        """The image at ``offset``, the offset within it, and the bytes from there to its end."""
        at = self._image_at(offset)
        return self._images[at], offset - self._starts[at], self._starts[at + 1] - offset

    def _image_at(self, offset: int) -> int:
        at = 0
        while offset >= self._starts[at + 1]:
            at += 1
        return at

    def _warn(self, text: str) -> None:
        if not self._quiet:
            warn(text)
