# SPDX-License-Identifier: GPL-2.0-or-later
"""BlockLimits: which requests a node's driver takes; the node splits, pads and bounces the others (QEMU: BlockLimits)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class BlockLimits:
    """All in bytes; 0 is no limit, or the request alignment for an alignment. Alignments are powers of two."""

    #: Offsets and lengths of all requests are multiples of it.
    request_alignment: int = 1
    #: Addresses of buffers are multiples of it (direct I/O), their lengths of ``request_alignment``.
    memory_alignment: int = 1
    #: Longest read or write.
    max_transfer: int = 0
    #: What is quickest; a hint for those above.
    opt_transfer: int = 0
    #: Most views in one read or write.
    max_iov: int = 0
    max_write_zeroes: int = 0
    write_zeroes_alignment: int = 0
    max_discard: int = 0
    discard_alignment: int = 0
