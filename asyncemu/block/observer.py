# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockObserver: who is told of what nobody has asked for: errors of devices, damage, exports that end.

A graph has one (``BlockGraph.observer``), which its nodes know. This one does nothing; events.py has one for a machine.
All methods may be called by any thread, in the home of what they are about; they don't wait and don't raise.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from asyncemu.loop import any_thread

#: QEMU: BlockErrorAction.
Action: TypeAlias = Literal["report", "ignore", "stop"]


class BlockObserver:
    """Tells nobody."""

    @any_thread
    def io_error(self, node_name: str, *, is_read: bool, action: Action, no_space: bool, reason: str) -> None:
        """A request of the device on that node has failed; ``action`` is what it does about it."""

    @any_thread
    def image_corrupted(
        self, node_name: str, problem: str, *, offset: int | None, size: int | None, fatal: bool
    ) -> None:
        """Damage was found; ``offset`` and ``size`` (bytes) where it is known. ``fatal``: the node is useless."""

    @any_thread
    def write_threshold(self, node_name: str, *, amount_exceeded: int, threshold: int) -> None:
        """A write has passed ``threshold`` (bytes) by so many bytes."""

    @any_thread
    def export_deleted(self, id: str) -> None:
        """The export ``id`` is gone."""


#: For nodes without a graph.
SILENT = BlockObserver()
