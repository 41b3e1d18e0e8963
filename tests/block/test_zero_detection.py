# SPDX-License-Identifier: GPL-2.0-or-later
"""Are these bytes all zero? QEMU: test-bufferiszero.c."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.zero_detection import is_zero, view_is_zero
from asyncemu.memory.buffers import Buffers

#: Around the size of a block that is compared at once.
LENGTHS = [0, 1, 2, 3, 511, 512, 65535, 65536, 65537, 200_000]


@pytest.mark.parametrize("length", LENGTHS)
def test_zeroes_are_zero(length: int) -> None:
    assert view_is_zero(memoryview(bytes(length)))


@pytest.mark.parametrize("length", LENGTHS[1:])
def test_one_other_byte_anywhere_is_found(length: int) -> None:
    for position in {0, 1, length // 3, length // 2, length - 2, length - 1} & set(range(length)):
        data = bytearray(length)
        data[position] = 1
        assert not view_is_zero(memoryview(data)), position


def test_all_views_count() -> None:
    zeroes, data = memoryview(bytes(100)), memoryview(b"\0" * 50 + b"x" + b"\0" * 50)
    assert is_zero(Buffers([zeroes, zeroes]))
    assert not is_zero(Buffers([zeroes, data]))
    assert is_zero(Buffers())


@given(st.binary(max_size=300), st.integers(0, 70_000))
def test_same_answer_as_the_plain_way(data: bytes, padding: int) -> None:
    whole = bytes(padding) + data + bytes(padding // 2)
    assert view_is_zero(memoryview(whole)) == (not any(data))
