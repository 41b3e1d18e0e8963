# SPDX-License-Identifier: GPL-2.0-or-later
"""Cache modes, under QEMU's names (``-t none``)."""

from __future__ import annotations

from typing import Final, NamedTuple


class CacheMode(NamedTuple):
    """What a mode means for a node and for who writes to it."""

    #: Option ``cache.direct``: no page cache of the host.
    direct: bool = False
    #: Option ``cache.no-flush``.
    no_flush: bool = False
    #: Each write is on the disk when it is done (FUA).
    writethrough: bool = False

    def table(self) -> dict[str, object]:
        """As the option ``cache`` of a block node."""
        return {"direct": self.direct, "no-flush": self.no_flush}


CACHE_MODES: Final = {
    "none": CacheMode(direct=True),
    "off": CacheMode(direct=True),
    "directsync": CacheMode(direct=True, writethrough=True),
    "writeback": CacheMode(),
    "unsafe": CacheMode(no_flush=True),
    "writethrough": CacheMode(writethrough=True),
}

WRITEBACK: Final = CACHE_MODES["writeback"]
