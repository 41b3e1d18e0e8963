# SPDX-License-Identifier: GPL-2.0-or-later
"""Which frames are let in: 5.1.6.5.1 to 5.1.6.5.3."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.virtio.net.receive_filter import HEAD, MAX_ADDRESSES, ReceiveFilter

MAC = bytes.fromhex("525400123456")
OTHER = bytes.fromhex("525400999999")
GROUP = bytes.fromhex("01005e000001")
BROADCAST = b"\xff" * 6

STRICT = ReceiveFilter(MAC, promiscuous=False)


def head(destination: bytes, vlan: int | None = None) -> bytes:
    tag = b"\x08\x00\x45\x00" if vlan is None else b"\x81\x00" + vlan.to_bytes(2, "big")
    return destination + OTHER + tag


@pytest.mark.parametrize(
    ("mode", "accepted"),
    [
        ("", {MAC, BROADCAST}),
        ("promiscuous", {MAC, BROADCAST, OTHER, GROUP}),
        ("all_unicast", {MAC, BROADCAST, OTHER}),
        ("all_multicast", {MAC, BROADCAST, GROUP}),
        ("no_unicast", {BROADCAST}),
        ("no_broadcast", {MAC}),
        ("no_multicast", {MAC, BROADCAST}),
    ],
)
def test_accepts_by_mode(mode: str, accepted: set[bytes]) -> None:
    filter = STRICT.with_mode(mode, True) if mode else STRICT

    assert {each for each in (MAC, BROADCAST, OTHER, GROUP) if filter.accepts(head(each))} == accepted


def test_accepts_no_multicast_wins_over_all_multicast() -> None:
    filter = STRICT.with_mode("all_multicast", True).with_mode("no_multicast", True)

    assert not filter.accepts(head(GROUP))


def test_accepts_addresses_of_the_tables() -> None:
    filter = STRICT.with_tables([OTHER], [GROUP])

    assert all(filter.accepts(head(each)) for each in (MAC, OTHER, GROUP))
    assert not filter.accepts(head(bytes.fromhex("01005e000002")))


def addresses(count: int, first: int) -> list[bytes]:
    return [bytes([first, 0, 0, 0, 0, number]) for number in range(count)]


def test_with_tables_too_many_of_one_kind_lets_all_of_that_kind_in() -> None:
    filter = STRICT.with_tables(addresses(MAX_ADDRESSES + 1, 2), addresses(3, 1))

    assert (filter.unicast, len(filter.multicast)) == (frozenset(), 3)
    assert filter.accepts(head(OTHER))
    assert not filter.accepts(head(GROUP))


def test_with_tables_share_their_room() -> None:
    filter = STRICT.with_tables(addresses(MAX_ADDRESSES, 2), addresses(1, 1))

    assert (filter.unicast_overflow, filter.multicast_overflow) == (False, True)


def test_accepts_vlans_that_were_added_and_untagged() -> None:
    filter = STRICT.with_vlan(7, True).with_vlan(8, True).with_vlan(8, False)

    assert [vlan for vlan in (None, 6, 7, 8) if filter.accepts(head(MAC, vlan))] == [None, 7]


def test_accepts_priority_bits_of_a_tag_do_not_count() -> None:
    assert STRICT.with_vlan(7, True).accepts(head(MAC, 0xE007))


@given(st.binary(max_size=HEAD), st.booleans())
def test_accepts_any_bytes_is_an_answer(data: bytes, vlans: bool) -> None:
    filter = STRICT.with_vlan(1, True) if vlans else STRICT

    assert filter.accepts(data) in (True, False)
    assert len(data) >= 14 or not filter.accepts(data)
