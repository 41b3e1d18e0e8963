# SPDX-License-Identifier: GPL-2.0-or-later
"""The bit sets of the block layer, under QEMU's names: request flags, permissions, roles of children, block status.

Plain integers: an ``enum.IntFlag`` costs half a microsecond for each ``&``, and these are on the path of every request.
"""

from __future__ import annotations

from typing import Final

# ---- requests (QEMU: BDRV_REQ_*)

#: Copy what is read from the backing chain into the node that is read.
COPY_ON_READ: Final = 0x1
#: Write zeroes: no buffers.
ZERO_WRITE: Final = 0x2
#: With ZERO_WRITE: the storage may be given back.
MAY_UNMAP: Final = 0x4
#: Force unit access: the data survives a crash of the host when the request is done.
FUA: Final = 0x10
#: Store compressed; a format that can't refuses.
WRITE_COMPRESSED: Final = 0x20
#: The bytes that a reader sees don't change by this write.
WRITE_UNCHANGED: Final = 0x40
#: Nothing else that touches the bytes runs meanwhile.
SERIALISING: Final = 0x80
#: With ZERO_WRITE: fail with ENOTSUP instead of writing buffers of zeroes.
NO_FALLBACK: Final = 0x100
#: With COPY_ON_READ: only copy, the buffers are not wanted.
PREFETCH: Final = 0x200
#: With SERIALISING: fail with EBUSY instead of waiting.
NO_WAIT: Final = 0x400

# ---- permissions (QEMU: BLK_PERM_*)

#: Read data that make sense: no half-written image, nobody changing a chain below.
PERM_CONSISTENT_READ: Final = 0x1
#: Change what readers see.
PERM_WRITE: Final = 0x2
#: Write what readers see already.
PERM_WRITE_UNCHANGED: Final = 0x4
#: Change the size.
PERM_RESIZE: Final = 0x8
PERM_ALL: Final = 0xF

#: QEMU's words for them, in its order.
PERMISSION_NAMES: Final = {
    PERM_CONSISTENT_READ: "consistent read",
    PERM_WRITE: "write",
    PERM_WRITE_UNCHANGED: "write unchanged",
    PERM_RESIZE: "resize",
}

# ---- roles of children (QEMU: BDRV_CHILD_*)

#: Holds guest data.
ROLE_DATA: Final = 0x1
#: Holds the format's own data.
ROLE_METADATA: Final = 0x2
#: The parent passes its requests on to it: same data, same offsets.
ROLE_FILTERED: Final = 0x4
#: What is not allocated in the parent is read from it.
ROLE_COW: Final = 0x8
#: The one that the parent is about; one child at most.
ROLE_PRIMARY: Final = 0x10
#: An image format's file.
ROLE_IMAGE: Final = ROLE_DATA | ROLE_METADATA | ROLE_PRIMARY
#: A filter's child.
ROLE_FILTER: Final = ROLE_FILTERED | ROLE_PRIMARY

# ---- block status (QEMU: BDRV_BLOCK_*)

#: Reads come from this layer or from a file below it.
STATUS_DATA: Final = 0x1
#: Reads as zeroes.
STATUS_ZERO: Final = 0x2
#: ``map`` is valid: the bytes are in ``file`` at that offset, as they are.
STATUS_OFFSET_VALID: Final = 0x4
#: Ask ``file`` at ``map``: the layer only passes on.
STATUS_RAW: Final = 0x8
#: This layer decides what is read (not the backing file).
STATUS_ALLOCATED: Final = 0x10
#: The range ends at the end of the node.
STATUS_EOF: Final = 0x20
#: ``file`` may know more (holes, zeroes): ask it too.
STATUS_RECURSE: Final = 0x40
