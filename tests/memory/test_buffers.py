# SPDX-License-Identifier: GPL-2.0-or-later
"""Buffers against plain bytes."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.memory.buffers import Buffers

pieces = st.lists(st.binary(max_size=20), max_size=6)


def writable(parts: list[bytes]) -> Buffers:
    return Buffers.of(*(bytearray(part) for part in parts))


@given(pieces, st.data())
def test_split_any_length_gives_both_halves(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    length = data.draw(st.integers(0, len(whole)))
    head, tail = Buffers.of(*parts).split(length)
    assert (head.tobytes(), tail.tobytes()) == (whole[:length], whole[length:])
    assert all(len(view) for view in [*head, *tail])


@given(pieces, st.data())
def test_slice_any_range_equals_slice_of_bytes(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    start = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, len(whole) - start))
    assert Buffers.of(*parts).slice(start, length).tobytes() == whole[start : start + length]


@given(pieces, st.data())
def test_take_and_take_last_remove_from_their_ends(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(0, len(whole) - first))
    buffers = Buffers.of(*parts)
    assert buffers.take(first) == whole[:first]
    assert buffers.take_last(last).tobytes() == whole[len(whole) - last :]
    assert buffers.tobytes() == whole[first : len(whole) - last]


@given(pieces, st.binary(max_size=100))
def test_write_copies_as_much_as_fits(parts: list[bytes], data: bytes) -> None:
    whole = b"".join(parts)
    buffers = writable(parts)
    done = buffers.write(data)
    assert done == min(len(whole), len(data))
    assert buffers.tobytes() == data[:done] + whole[done:]


@given(pieces, st.integers(1, 100), st.integers(1, 7))
def test_head_any_limits_respects_both(parts: list[bytes], max_bytes: int, max_views: int) -> None:
    buffers = Buffers.of(*parts)
    head = buffers.head(max_bytes, max_views)
    assert head.tobytes() == Buffers(buffers[:max_views]).tobytes()[:max_bytes]
    assert len(head) <= max_views


@pytest.mark.parametrize("length", [-1, 4])
@pytest.mark.parametrize("method", ["split", "take", "take_last"])
def test_method_length_out_of_range_raises_value_error(method: str, length: int) -> None:
    with pytest.raises(ValueError, match="bytes asked for"):
        getattr(Buffers.of(b"abc"), method)(length)


def test_slice_negative_start_raises_value_error() -> None:
    with pytest.raises(ValueError, match="-1 bytes asked for"):
        Buffers.of(b"abc").slice(-1, 1)


def test_views_share_memory_with_what_they_wrap() -> None:
    memory = bytearray(8)
    Buffers.of(memory).slice(2, 3).write(b"xyz")
    assert memory == b"\0\0xyz\0\0\0"


def test_of_view_of_words_counts_bytes() -> None:
    assert Buffers.of(memoryview(array("I", [1, 2, 3]))).nbytes == 12


def test_of_view_with_stride_raises_type_error() -> None:
    with pytest.raises(TypeError):
        Buffers.of(memoryview(b"abcdef")[::2])


@pytest.mark.parametrize("length", [1, 65535, 65536, 65537, 200_000])
def test_fill_zero_any_length_clears_all(length: int) -> None:
    memory = bytearray(b"x" * length)
    Buffers.of(memory).fill_zero()
    assert memory == bytes(length)
