# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import ethernet
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import MAC, ROUTER_MAC, bytes16, macs


@given(macs, macs, bytes16)
def test_parse_what_pack_made_is_the_same(destination: bytes, source: bytes, ether_type: int) -> None:
    header = ethernet.Header(destination, source, ether_type)
    assert ethernet.parse(header.pack()) == header


def test_parse_13_bytes_is_malformed() -> None:
    with pytest.raises(Malformed, match="shorter"):
        ethernet.parse(bytes(13))


def test_skip_tags_two_tags_gives_the_type_behind_them() -> None:
    frame = ethernet.Header(MAC, ROUTER_MAC, ethernet.SERVICE_VLAN).pack() + bytes.fromhex("0001 8100 0002 0800")
    header = ethernet.skip_tags(frame, ethernet.parse(frame))
    assert (header.ether_type, header.start) == (ethernet.IPV4, 22)


def test_skip_tags_no_tag_changes_nothing() -> None:
    header = ethernet.Header(MAC, ROUTER_MAC, ethernet.ARP)
    assert ethernet.skip_tags(header.pack(), header) == header


@given(st.binary(max_size=6))
def test_skip_tags_any_bytes_behind_is_malformed_or_a_type(rest: bytes) -> None:
    frame = ethernet.Header(MAC, ROUTER_MAC, ethernet.VLAN).pack() + rest
    try:
        header = ethernet.skip_tags(frame, ethernet.parse(frame))
    except Malformed:
        return
    assert header.start <= len(frame)
