# SPDX-License-Identifier: GPL-2.0-or-later
"""Refcount blocks of all widths against a plain list, and the bytes against the spec."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.block.qcow2.refcount_codec import RefcountRange, refcount_codec

SIZE = 128
orders = st.integers(0, 6)


def packed(values: list[int], order: int) -> bytes:
    """By the spec: big-endian numbers, or from the lowest bits of each byte on."""
    bits = 1 << order
    if bits >= 8:
        return b"".join(value.to_bytes(bits // 8, "big") for value in values)
    per_byte = 8 // bits
    return bytes(
        sum(value << position * bits for position, value in enumerate(values[start : start + per_byte]))
        for start in range(0, len(values), per_byte)
    )


@st.composite
def blocks(draw: st.DrawFn) -> tuple[int, list[int]]:
    """An order, and the refcounts of a block: runs, as images have."""
    order = draw(orders)
    entries = SIZE * 8 >> order
    maximum = (1 << (1 << order)) - 1
    run = st.tuples(st.sampled_from([0, 0, 1, min(2, maximum), maximum]), st.integers(1, entries))
    values = [value for value, count in draw(st.lists(run, max_size=8)) for _ in range(count)]
    return order, (values + [0] * entries)[:entries]


@given(blocks())
def test_codec_any_block_is_unpacked_and_packed_as_the_spec_says(block: tuple[int, list[int]]) -> None:
    order, values = block
    codec = refcount_codec(SIZE, order)

    payload = codec.unpack(packed(values, order))

    assert list(codec.values(payload, 0, codec.entries)) == values
    assert codec.pack(payload, 0, SIZE) == packed(values, order)
    assert codec.maximum == (1 << (1 << order)) - 1


@given(blocks(), st.data())
def test_codec_searches_find_what_a_list_has(block: tuple[int, list[int]], data: st.DataObject) -> None:
    order, values = block
    codec = refcount_codec(SIZE, order)
    payload = codec.unpack(packed(values, order))
    start = data.draw(st.integers(0, len(values)))
    end = data.draw(st.integers(start, len(values)))

    assert codec.first_free(payload, start, end) == next((i for i in range(start, end) if not values[i]), end)
    assert codec.first_used(payload, start, end) == next((i for i in range(start, end) if values[i]), end)
    assert codec.last_used(payload, end) == next((i for i in range(end - 1, -1, -1) if values[i]), -1)
    assert codec.count_used(payload, end) == sum(map(bool, values[:end]))


@given(blocks(), st.sampled_from([1, -1]), st.data())
def test_codec_add_changes_a_range_or_nothing(block: tuple[int, list[int]], addend: int, data: st.DataObject) -> None:
    order, values = block
    codec = refcount_codec(SIZE, order)
    payload = codec.unpack(packed(values, order))
    start = data.draw(st.integers(0, len(values) - 1))
    end = data.draw(st.integers(start + 1, len(values)))
    wanted = [value + addend if start <= i < end else value for i, value in enumerate(values)]
    fits = all(0 <= value <= codec.maximum for value in wanted)

    try:
        codec.add(payload, start, end, addend)
    except RefcountRange:
        assert not fits
        wanted = values

    assert list(codec.values(payload, 0, codec.entries)) == wanted


@given(blocks(), st.data())
def test_codec_changed_bytes_hold_the_changed_entries(block: tuple[int, list[int]], data: st.DataObject) -> None:
    order, values = block
    codec = refcount_codec(SIZE, order)
    payload = codec.unpack(packed(values, order))
    index = data.draw(st.integers(0, len(values) - 1))
    codec.put(payload, index, codec.maximum)

    start, end = codec.byte_range(index, index + 1)

    disk = bytearray(packed(values, order))
    disk[start:end] = codec.pack(payload, start, end)
    assert bytes(disk) == codec.pack(payload, 0, SIZE)
    assert (start % 8, end % 8) == (0, 0)


@pytest.mark.parametrize("order", range(7))
def test_codec_empty_block_is_free_everywhere(order: int) -> None:
    codec = refcount_codec(SIZE, order)

    assert codec.first_used(codec.empty(), 0, codec.entries) == codec.entries
    assert codec.get(codec.empty(), codec.entries - 1) == 0
