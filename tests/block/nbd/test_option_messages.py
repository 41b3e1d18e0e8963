# SPDX-License-Identifier: GPL-2.0-or-later
"""Messages of the handshake: round trips, and what is none."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.block.nbd.constants import INFO_BLOCK_SIZE, INFO_EXPORT, OPT_GO, OPT_INFO
from asyncemu.block.nbd.option_messages import (
    BlockSizes,
    ExportInformation,
    InfoRequest,
    InvalidOption,
    ListedExport,
    MetaContext,
    MetaContextRequest,
    add_information,
    block_size_information,
    decode_text,
    description_information,
    encode_text,
    export_information,
    name_information,
    shorten,
)

names = st.binary(max_size=100).map(decode_text)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)


@settings(deadline=None)
@given(st.binary())
def test_text_any_bytes_survive(data: bytes) -> None:
    assert encode_text(decode_text(data)) == data


@settings(deadline=None)
@given(names, st.lists(u16, max_size=20))
def test_info_request_round_trip(name: str, information: list[int]) -> None:
    request = InfoRequest(name, tuple(information))
    assert InfoRequest.decode(request.encode(), OPT_INFO) == request


@settings(deadline=None)
@given(names, st.lists(names, max_size=10))
def test_meta_context_request_round_trip(name: str, queries: list[str]) -> None:
    request = MetaContextRequest(name, tuple(queries))
    assert MetaContextRequest.decode(request.encode(), OPT_INFO) == request


@settings(deadline=None)
@given(names, names)
def test_listed_export_round_trip(name: str, description: str) -> None:
    listed = ListedExport(name, description)
    assert ListedExport.decode(listed.encode(), OPT_INFO) == listed


@settings(deadline=None)
@given(u32, names.filter(bool))
def test_meta_context_round_trip(context: int, name: str) -> None:
    assert MetaContext.decode(MetaContext(context, name).encode(), OPT_INFO) == MetaContext(context, name)


@pytest.mark.parametrize(
    "decode", [InfoRequest.decode, MetaContextRequest.decode, ListedExport.decode, MetaContext.decode]
)
@settings(deadline=None)
@given(data=st.binary(max_size=200))
def test_decode_any_bytes_give_a_value_or_invalid_option(decode: object, data: bytes) -> None:
    assert callable(decode)
    with contextlib.suppress(InvalidOption):
        decode(data, OPT_GO)


@settings(deadline=None)
@given(names, st.lists(u16, max_size=20), st.data())
def test_info_request_cut_short_is_inconsistent(name: str, information: list[int], data: st.DataObject) -> None:
    encoded = InfoRequest(name, tuple(information)).encode()
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(InvalidOption, match=r"^Inconsistent lengths in option go$"):
        InfoRequest.decode(encoded[:cut], OPT_GO)


def test_info_request_longer_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"^option 'go' has unexpected length$"):
        InfoRequest.decode(InfoRequest("a").encode() + b"x", OPT_GO)


def test_meta_context_request_huge_count_ends_at_once() -> None:
    with pytest.raises(InvalidOption, match=r"^Inconsistent lengths"):
        MetaContextRequest.decode(b"\0\0\0\0\xff\xff\xff\xff", OPT_INFO)


def test_meta_context_request_query_that_is_too_long_is_left_out() -> None:
    request = MetaContextRequest("a", ("b" * 5000, "base:"))
    assert MetaContextRequest.decode(request.encode(), OPT_INFO).queries == ("base:",)


def test_export_name_of_5000_bytes_is_refused() -> None:
    with pytest.raises(InvalidOption, match=r"^Invalid name length: 5000$"):
        InfoRequest.decode(InfoRequest("a" * 5000).encode(), OPT_INFO)


def test_add_information_collects_all_kinds() -> None:
    sizes = BlockSizes(512, 4096, 1 << 20)
    known = None
    for data in (
        export_information(7, 3),
        name_information("n"),
        description_information("d"),
        block_size_information(sizes),
        b"\0\x63whatever",
    ):
        known = add_information(known, data, OPT_GO)
    assert known == ExportInformation(7, 3, "n", "d", sizes)


@pytest.mark.parametrize(
    "sizes",
    [
        BlockSizes(0, 4096, 1 << 20),
        BlockSizes(3, 4096, 1 << 20),
        BlockSizes(1 << 17, 1 << 17, 1 << 20),
        BlockSizes(512, 1000, 1 << 20),
        BlockSizes(4096, 512, 1 << 20),
        BlockSizes(512, 4096, 0),
        BlockSizes(512, 4096, 1000),
    ],
)
def test_add_information_block_sizes_against_the_rules_are_refused(sizes: BlockSizes) -> None:
    with pytest.raises(InvalidOption, match=r"^server (minimum|preferred|maximum) block size"):
        add_information(None, block_size_information(sizes), OPT_GO)


def test_add_information_unlimited_maximum_is_fine() -> None:
    sizes = BlockSizes(512, 4096, 0xFFFFFFFF)
    known = add_information(None, block_size_information(sizes), OPT_GO)
    assert known is not None
    assert known.block_sizes == sizes


@pytest.mark.parametrize("kind", [INFO_EXPORT, INFO_BLOCK_SIZE])
def test_add_information_wrong_length_is_refused(kind: int) -> None:
    with pytest.raises(InvalidOption, match=r"^remaining export info len 1 is unexpected size$"):
        add_information(None, bytes((0, kind, 0)), OPT_GO)


def test_shorten_long_name_ends_in_dots() -> None:
    assert shorten("n" * 300) == "n" * 80 + "..."
