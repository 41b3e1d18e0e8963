# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import checksum
from tests.net.packets.strategies import CLIENT, CLIENT6, SERVER, SERVER6, bytes16, ipv4s, payloads


def slow_sum(data: bytes) -> int:
    """RFC 1071, 4.1, word by word."""
    data += bytes(len(data) & 1)
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(payloads)
def test_add_any_bytes_is_the_sum_word_by_word(data: bytes) -> None:
    assert checksum.add(data) == slow_sum(data)


def test_add_zeros_is_zero_not_all_ones() -> None:
    assert checksum.add(bytes(64)) == 0


def test_add_words_that_sum_to_all_ones_is_all_ones() -> None:
    assert checksum.add(b"\xff\xff\0\0") == 0xFFFF


def test_add_the_example_of_rfc_1071_gives_its_sum() -> None:
    assert checksum.add(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2


@given(st.lists(payloads, max_size=6), bytes16)
def test_add_views_of_any_lengths_is_the_sum_of_all_bytes(views: list[bytes], initial: int) -> None:
    assert checksum.add_views(views, initial) == checksum.add(b"".join(views), initial)


@given(payloads)
def test_of_inserted_into_the_data_makes_the_sum_all_ones(data: bytes) -> None:
    assert checksum.add(checksum.of(data).to_bytes(2, "big") + data) == 0xFFFF


@given(st.binary(min_size=2, max_size=100), bytes16)
def test_update_a_word_changes_makes_the_sum_all_ones(data: bytes, new: int) -> None:
    data = b"\x45\x01" + data
    updated = checksum.update(checksum.of(data), int.from_bytes(data[2:4], "big"), new)
    assert checksum.add(updated.to_bytes(2, "big") + data[:2] + new.to_bytes(2, "big") + data[4:]) == 0xFFFF


@given(ipv4s, ipv4s, st.binary(min_size=8, max_size=100))
def test_is_right_of_what_transport_made_holds(source: bytes, destination: bytes, data: bytes) -> None:
    data = data[:6] + b"\0\0" + data[8:]
    value = checksum.transport(source, destination, 17, data)
    assert checksum.is_right(source, destination, 17, data[:6] + value.to_bytes(2, "big") + data[8:])


def test_is_right_one_bit_is_flipped_fails() -> None:
    data = b"\0\x07\0\x07\0\x0a\0\0hi"
    data = data[:6] + checksum.transport(CLIENT6, SERVER6, 17, data).to_bytes(2, "big") + b"hj"
    assert not checksum.is_right(CLIENT6, SERVER6, 17, data)


def test_pseudo_header_is_the_sum_of_its_words() -> None:
    assert checksum.add(b"", checksum.pseudo_header(CLIENT, SERVER, 6, 20)) == slow_sum(CLIENT + SERVER + b"\0\6\0\x14")
