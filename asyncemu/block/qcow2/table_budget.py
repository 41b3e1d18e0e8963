# SPDX-License-Identifier: GPL-2.0-or-later
"""TableBudget: how many bytes of tables may be read on one way over them.

In a sound image tables don't overlap, so that all of one level together are no longer than the file. A hostile one may
name the same table millions of times, and have an operation read it as often.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from asyncemu.block.qcow2.geometry import OFFSET_MASK
from asyncemu.errors import BlockError

if TYPE_CHECKING:
    from asyncemu.block.qcow2.image import Image

#: Bytes beyond the size of the file, as in check_tables.py: damage is another's matter.
_FURTHER_BYTES: Final = 16 << 20


class TableBudget:
    """Of one way over the tables of ``image``."""

    def __init__(self, image: Image) -> None:
        self._name = image.name
        self._left = image.file.size + _FURTHER_BYTES

    def take(self, length: int) -> None:
        """So many bytes will be read. BlockError (EFBIG): they are too many."""
        self._left -= length
        if self._left < 0:
            raise BlockError(self._name, errno.EFBIG, "L1 and L2 tables overlap too often")


def check_l2_tables(image: Image, l1: Iterable[int]) -> None:
    """May all L2 tables that ``l1`` names be looked at, one after the other? BlockError (EFBIG)."""
    tables = sum(1 for entry in l1 if entry & OFFSET_MASK)
    TableBudget(image).take(tables << image.geometry.cluster_bits)
