# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import fragments, ipv4, ipv6
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.packets.fragments import Reassembly, Whole
from tests.net.packets.strategies import CLIENT, CLIENT6, SERVER, SERVER6

V4 = ipv4.Header(CLIENT, SERVER, 17, identification=7)
V6 = ipv6.Header(CLIENT6, SERVER6, 17)
SECOND = 1_000_000_000


def add4(table: Reassembly, packet: bytes, now: int = 0) -> Whole | None:
    return table.add_ipv4(ipv4.parse(packet), packet, now)


def add6(table: Reassembly, packet: bytes, now: int = 0) -> Whole | None:
    return table.add_ipv6(ipv6.parse(packet), packet, now)


def part4(offset: int, data: bytes, more: bool, identification: int = 7) -> bytes:
    fragment = offset >> 3 | (ipv4.MORE_FRAGMENTS if more else 0)
    return V4._replace(fragment=fragment, identification=identification).pack(len(data)) + data


@given(st.binary(min_size=100, max_size=1000), st.integers(28, 119), st.randoms(use_true_random=False))
def test_add_ipv4_in_any_order_gives_what_was_cut(payload: bytes, mtu: int, order: random.Random) -> None:
    packets = fragments.cut_ipv4(V4, payload, mtu)
    order.shuffle(packets)
    table = Reassembly()
    results = [add4(table, packet) for packet in packets]
    assert results[-1] == Whole(17, payload)
    assert set(results[:-1]) <= {None}
    assert (len(table), table.nbytes) == (0, 0)
    assert all(len(packet) <= mtu for packet in packets)


@given(st.binary(min_size=100, max_size=1000), st.integers(56, 139), st.randoms(use_true_random=False))
def test_add_ipv6_in_any_order_gives_what_was_cut(payload: bytes, mtu: int, order: random.Random) -> None:
    packets = fragments.cut_ipv6(V6, payload, mtu, 7)
    order.shuffle(packets)
    table = Reassembly()
    results = [add6(table, packet) for packet in packets]
    assert results[-1] == Whole(17, payload)
    assert (len(table), table.nbytes) == (0, 0)
    assert all(len(packet) <= mtu for packet in packets)


def test_cut_ipv4_is_put_together_by_scapy(scapy: Any) -> None:
    payload = bytes(range(256)) * 8
    packets = [scapy.IP(packet) for packet in fragments.cut_ipv4(V4, payload, 576)]
    assert bytes(scapy.defragment(packets)[0])[20:] == payload


def test_cut_ipv6_is_put_together_by_scapy(scapy: Any) -> None:
    payload = bytes(range(256)) * 8
    packets = [scapy.IPv6(packet) for packet in fragments.cut_ipv6(V6, payload, 1280, 7)]
    assert bytes(scapy.defragment6(packets))[40:] == payload


def test_add_ipv4_what_scapy_cut_is_whole(scapy: Any) -> None:
    payload = bytes(range(256)) * 8
    cut = scapy.fragment(scapy.IP(src="10.0.2.15", dst="10.0.2.2", proto=17) / payload, 500)
    table = Reassembly()
    assert [add4(table, bytes(packet)) for packet in cut][-1] == Whole(17, payload)


def test_cut_what_fits_is_one_packet_without_fragment_header() -> None:
    assert ipv6.parse(fragments.cut_ipv6(V6, bytes(1240), 1280, 7)[0]).fragment is None
    assert len(fragments.cut_ipv4(V4, bytes(1480), 1500)) == 1


def test_cut_ipv4_of_a_fragment_keeps_its_place() -> None:
    middle = V4._replace(fragment=ipv4.MORE_FRAGMENTS | 100)
    headers = [ipv4.parse(packet) for packet in fragments.cut_ipv4(middle, bytes(64), 52)]
    assert [(header.offset, header.more) for header in headers] == [(800, True), (832, True)]


def test_cut_ipv4_must_not_be_fragmented_is_refused() -> None:
    with pytest.raises(ValueError, match="must not"):
        fragments.cut_ipv4(V4._replace(fragment=ipv4.DONT_FRAGMENT), bytes(1481), 1500)


def test_cut_mtu_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="fits into the MTU"):
        fragments.cut_ipv4(V4, bytes(100), 27)


def test_add_the_same_fragment_twice_is_ignored() -> None:
    table = Reassembly()
    add4(table, part4(0, b"12345678", True))
    add4(table, part4(0, b"12345678", True))
    assert add4(table, part4(8, b"9", False)) == Whole(17, b"123456789")


@pytest.mark.parametrize(
    ("offset", "data", "more"),
    [
        (8, bytes(16), True),
        (24, bytes(8), True),
        (0, bytes(16), True),
        (16, b"another!" * 2, True),
        (8, bytes(9), False),
    ],
)
def test_add_overlap_drops_the_packet_and_what_follows(offset: int, data: bytes, more: bool) -> None:
    table = Reassembly()
    add4(table, part4(0, bytes(8), True))
    add4(table, part4(16, bytes(16), True))
    with pytest.raises(Malformed, match=r"overlap|behind"):
        add4(table, part4(offset, data, more))
    rest = [add4(table, part4(at, bytes(8), at < 32)) for at in (0, 8, 16, 24, 32)]
    assert rest == [None] * 5
    assert (table.nbytes, table.dropped) == (0, 1)


def test_add_after_an_overlap_and_the_timeout_begins_anew() -> None:
    table = Reassembly()
    add4(table, part4(0, bytes(8), True))
    with pytest.raises(Malformed, match="overlap"):
        add4(table, part4(0, bytes(16), True))
    assert table.expire(30 * SECOND) == []
    add4(table, part4(0, b"12345678", True), 30 * SECOND)
    assert add4(table, part4(8, b"9", False), 30 * SECOND) == Whole(17, b"123456789")


def test_add_second_last_fragment_is_malformed() -> None:
    table = Reassembly()
    add4(table, part4(16, bytes(8), False))
    with pytest.raises(Malformed, match="behind the last"):
        add4(table, part4(0, bytes(16), False))


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (part4(8, b"", True), "whole units"),
        (part4(8, bytes(9), True), "whole units"),
        (part4(0xFFF8, bytes(8), False), "too long"),
    ],
)
def test_add_broken_fragment_says_what_is_wrong(packet: bytes, reason: str) -> None:
    table = Reassembly()
    with pytest.raises(Malformed, match=reason):
        add4(table, packet)
    assert len(table) == 0


def test_add_other_identification_is_another_packet() -> None:
    table = Reassembly()
    add4(table, part4(0, bytes(8), True, 1))
    assert add4(table, part4(8, bytes(8), False, 2)) is None
    assert len(table) == 2


def test_add_too_many_packets_the_oldest_makes_room() -> None:
    table = Reassembly(max_packets=2)
    for identification in (1, 2, 3):
        add4(table, part4(0, bytes(8), True, identification), identification)
    assert add4(table, part4(8, bytes(8), False, 1), 4) is None
    assert (len(table), table.dropped) == (2, 2)


def test_add_too_many_bytes_is_bounded() -> None:
    table = Reassembly(max_bytes=10_000)
    for identification in range(100):
        add4(table, part4(0, bytes(1000), True, identification))
    assert table.nbytes <= 10_000
    assert table.dropped == 100 - len(table)


def test_add_many_small_fragments_count_for_more_than_their_data() -> None:
    table = Reassembly(max_bytes=10_000)
    for offset in range(0, 4000, 16):
        add4(table, part4(offset, bytes(8), True))
    assert table.nbytes <= 10_000
    assert table.dropped


def test_expire_with_the_first_fragment_says_whom_to_tell() -> None:
    table = Reassembly()
    add4(table, part4(0, b"12345678", True), 5)
    add4(table, part4(16, b"12345678", True, 8), 6)
    assert table.next_deadline() == 5 + 30 * SECOND
    assert table.expire(4 + 30 * SECOND) == []
    [expired] = table.expire(6 + 30 * SECOND)
    assert (expired.header.source, expired.first) == (CLIENT, b"12345678")
    assert (table.next_deadline(), table.dropped, table.nbytes) == (None, 2, 0)


def test_expire_ipv6_waits_for_a_minute() -> None:
    table = Reassembly()
    add6(table, fragments.cut_ipv6(V6, bytes(2000), 1280, 7)[0], 0)
    assert table.expire(59 * SECOND) == []
    assert len(table.expire(60 * SECOND)) == 1


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 24), st.booleans()), max_size=30))
def test_add_any_fragments_never_gives_more_than_came(parts: list[tuple[int, int, bool]]) -> None:
    table = Reassembly()
    for unit, length, more in parts:
        try:
            whole = add4(table, part4(unit * 8, bytes(length), more))
        except Malformed:
            continue
        assert whole is None or 0 < len(whole.payload) <= 13 * 8 + 24
    assert table.expire(60 * SECOND) is not None
    assert (len(table), table.nbytes) == (0, 0)
