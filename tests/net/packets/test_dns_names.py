# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import dns_names
from asyncemu.net.packets.errors import Malformed

plain = st.lists(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), min_size=1, max_size=5).map(".".join)
labels = st.lists(st.binary(min_size=1, max_size=63), max_size=3)


@given(labels)
def test_parse_any_labels_packs_to_the_same(labels: list[bytes]) -> None:
    data = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    name, following = dns_names.parse(data + b"behind", 0)
    assert following == len(data)
    assert dns_names.pack(name) == data


@given(st.binary(max_size=60).map(lambda data: data * 3), st.integers(0, 60))
def test_parse_any_bytes_is_malformed_or_within_them(data: bytes, start: int) -> None:
    try:
        name, following = dns_names.parse(data, start)
    except Malformed:
        return
    assert start < following <= len(data)
    assert len(dns_names.pack(name)) <= dns_names.MAX_NAME


@given(st.lists(plain, max_size=6))
def test_pack_search_list_names_are_read_back(domains: list[str]) -> None:
    data = dns_names.pack_search_list(domains)
    found = []
    start = 0
    while start < len(data):
        name, start = dns_names.parse(data, start)
        found.append(name)
    assert found == domains


def test_pack_search_list_is_that_of_rfc_3397() -> None:
    data = dns_names.pack_search_list(["eng.apple.com", "marketing.apple.com"])
    assert data == b"\3eng\5apple\3com\0\x09marketing\xc0\4"


def test_parse_pointer_to_itself_is_malformed() -> None:
    with pytest.raises(Malformed, match="forward"):
        dns_names.parse(b"\xc0\0", 0)


def test_parse_two_pointers_in_a_circle_are_malformed() -> None:
    with pytest.raises(Malformed, match="forward"):
        dns_names.parse(b"\xc0\2\xc0\0", 0)


def test_parse_chain_of_too_many_pointers_is_malformed() -> None:
    chain = b"\0\0" + b"".join((0xC000 | 2 * each).to_bytes(2, "big") for each in range(200))
    assert dns_names.parse(chain, 2 * 127)[0] == ""
    with pytest.raises(Malformed, match="too often"):
        dns_names.parse(chain, 2 * 128)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "cut"),
        (b"\3ab", "cut"),
        (b"\xc0", "cut"),
        (b"\x40" + bytes(65), "label"),
        ((b"\x3f" + b"a" * 63) * 4 + b"\0", "too long"),
    ],
)
def test_parse_broken_name_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        dns_names.parse(data, 0)


def test_parse_pointer_where_there_is_no_compression_is_malformed() -> None:
    with pytest.raises(Malformed, match="label"):
        dns_names.parse(b"\1a\0\xc0\0", 3, compressed=False)


def test_parse_dot_within_a_label_is_escaped() -> None:
    assert dns_names.parse(b"\3a.b\1c\0", 0)[0] == "a\\046b.c"


@pytest.mark.parametrize("name", ["a..b", ".a", "a" * 64, "\\300.a", "\\x", "é", ".".join(["a" * 63] * 4)])
def test_pack_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"domain name|label|bytes|ascii"):
        dns_names.pack(name)


def test_pack_root_and_ending_dot_are_as_in_dns() -> None:
    assert dns_names.pack("") == dns_names.pack(".") == b"\0"
    assert dns_names.pack("a.b.") == b"\1a\1b\0"
