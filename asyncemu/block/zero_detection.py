# SPDX-License-Identifier: GPL-2.0-or-later
"""Are these bytes all zero? QEMU: buffer_is_zero.

A look at the first bytes answers for most data. The rest is compared with zeroes by memcmp, a block at a time.
"""

from __future__ import annotations

from typing import Final

from asyncemu.memory.buffers import Buffers

#: Bytes: a comparison of this size stays in the cache, and costs more than the call of it.
_BLOCK: Final = 1 << 16
_ZEROES: Final = bytes(_BLOCK)


def is_zero(buffers: Buffers) -> bool:
    """Of all views."""
    return all(map(view_is_zero, buffers))


def view_is_zero(view: memoryview) -> bool:
    """Of one."""
    length = len(view)
    if length and (view[0] or view[-1] or view[length // 2]):
        return False
    for start in range(0, length, _BLOCK):
        part = view[start : start + _BLOCK].tobytes()
        if part != (_ZEROES if len(part) == _BLOCK else _ZEROES[: len(part)]):
            return False
    return True
