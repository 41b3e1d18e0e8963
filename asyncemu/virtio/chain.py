# SPDX-License-Identifier: GPL-2.0-or-later
"""Chain: one buffer that the driver has made available, as views of guest RAM."""

from __future__ import annotations

from asyncemu.memory import Buffers


class Chain:
    """A descriptor chain that has passed all checks (virtio 1.2, 2.7.4).

    ``readable`` is what the driver wrote for the device, ``writable`` where the device answers; both are the device's
    to take apart. The runtime gives the chain back when the handler is done; ``written`` says how many bytes of the
    writable part, from its start, hold an answer then: all of them unless the handler sets it.

    The guest chooses the lengths, and may let descriptors overlap: a handler that copies says how much at most.
    """

    __slots__ = ("head", "readable", "spans", "writable", "written")

    def __init__(self, head: int, readable: Buffers, writable: Buffers, spans: list[tuple[int, int]]) -> None:
        #: Number of the first descriptor: the chain's name in the rings.
        self.head = head
        self.readable = readable
        self.writable = writable
        #: (guest physical address, length) of the writable part, whatever the device does with ``writable``.
        self.spans = spans
        self.written: int | None = None

    @property
    def capacity(self) -> int:
        """Bytes of the whole writable part."""
        return sum(length for _, length in self.spans)

    def __repr__(self) -> str:
        return f"<Chain {self.head}: {self.readable.nbytes} readable, {self.capacity} writable>"
