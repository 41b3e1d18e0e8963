# SPDX-License-Identifier: GPL-2.0-or-later
"""Which requests a node's driver takes; the node splits, pads and bounces the others. QEMU: BlockLimits."""

from __future__ import annotations


class BlockLimits:
    """All in bytes; 0 is no limit, or the request alignment for an alignment. Alignments are powers of two.

    No dataclass: to make one costs the tools' start-up a millisecond.
    """

    def __init__(
        self,
        *,
        request_alignment: int = 1,
        memory_alignment: int = 1,
        max_transfer: int = 0,
        opt_transfer: int = 0,
        max_iov: int = 0,
        max_write_zeroes: int = 0,
        write_zeroes_alignment: int = 0,
        max_discard: int = 0,
        discard_alignment: int = 0,
    ) -> None:
        #: Offsets and lengths of all requests are multiples of it.
        self.request_alignment = request_alignment
        #: Addresses of buffers are multiples of it (direct I/O), their lengths of ``request_alignment``.
        self.memory_alignment = memory_alignment
        #: Longest read or write.
        self.max_transfer = max_transfer
        #: What is quickest; a hint for those above.
        self.opt_transfer = opt_transfer
        #: Most views in one read or write.
        self.max_iov = max_iov
        self.max_write_zeroes = max_write_zeroes
        self.write_zeroes_alignment = write_zeroes_alignment
        self.max_discard = max_discard
        self.discard_alignment = discard_alignment
