# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is used again."""

from __future__ import annotations

import ctypes
import mmap

import pytest

from asyncemu.block.nbd.buffer_pool import MAX_KEPT, BufferPool


def address_of(view: memoryview) -> int:
    """Where it is."""
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 65536, 100_000, 32 << 20])
def test_take_gives_as_much_as_asked_for_on_a_page(length: int) -> None:
    view = BufferPool().take(length)
    assert len(view) == length
    assert address_of(memoryview(view.obj)) % mmap.PAGESIZE == 0


@pytest.mark.parametrize(("first", "second"), [(4096, 4096), (5000, 8192), (8192, 5000)])
def test_give_is_taken_again(first: int, second: int) -> None:
    pool = BufferPool()
    view = pool.take(first)
    view[:3] = b"abc"
    pool.give(view)
    again = pool.take(second)
    assert len(again) == second
    assert bytes(again[:3]) == b"abc"
    assert bytes(pool.take(second)[:3]) == bytes(3)


def test_give_keeps_no_more_than_the_limit() -> None:
    pool = BufferPool()
    views = [pool.take(4 << 20) for _ in range(6)]
    for view in views:
        pool.give(view)
    assert pool._kept == MAX_KEPT
