# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of the block layer, with QEMU's names, and the observer that emits them."""

from __future__ import annotations

from typing import Literal

from asyncemu.block.observer import Action, BlockObserver
from asyncemu.events import Event, EventBus
from asyncemu.loop import any_thread


class BlockIoError(Event, name="BLOCK_IO_ERROR"):
    """A request of a device has failed."""

    #: QEMU's name of a drive, which devices on a block node have not.
    device: str = ""
    node_name: str
    operation: Literal["read", "write"]
    action: Action
    #: For want of space.
    nospace: bool
    #: For people.
    reason: str


class BlockImageCorrupted(Event, name="BLOCK_IMAGE_CORRUPTED"):
    """An image is damaged."""

    device: str = ""
    node_name: str
    msg: str
    #: Bytes into the image file.
    offset: int | None = None
    size: int | None = None
    #: Marked as corrupt, and of no more use until it is repaired.
    fatal: bool


class BlockWriteThreshold(Event, name="BLOCK_WRITE_THRESHOLD"):
    """A write has passed the threshold that was set for a node, which is off now."""

    node_name: str
    #: Bytes.
    amount_exceeded: int
    write_threshold: int


class BlockExportDeleted(Event, name="BLOCK_EXPORT_DELETED"):
    """An export is gone."""

    id: str


class EventObserver(BlockObserver):
    """Emits an event for each call."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus

    @any_thread
    def io_error(self, node_name: str, *, is_read: bool, action: Action, no_space: bool, reason: str) -> None:
        """See BlockObserver."""
        event = BlockIoError(
            node_name=node_name,
            operation="read" if is_read else "write",
            action=action,
            nospace=no_space,
            reason=reason,
        )
        self._bus.emit(event)

    @any_thread
    def image_corrupted(
        self, node_name: str, problem: str, *, offset: int | None, size: int | None, fatal: bool
    ) -> None:
        """See BlockObserver."""
        self._bus.emit(BlockImageCorrupted(node_name=node_name, msg=problem, offset=offset, size=size, fatal=fatal))

    @any_thread
    def write_threshold(self, node_name: str, *, amount_exceeded: int, threshold: int) -> None:
        """See BlockObserver."""
        self._bus.emit(
            BlockWriteThreshold(node_name=node_name, amount_exceeded=amount_exceeded, write_threshold=threshold)
        )

    @any_thread
    def export_deleted(self, id: str) -> None:
        """See BlockObserver."""
        self._bus.emit(BlockExportDeleted(id=id))
