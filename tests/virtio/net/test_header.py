# SPDX-License-Identifier: GPL-2.0-or-later
"""The header as a value: 5.1.6."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net import PLAIN, VnetHeader
from asyncemu.net.frame import DATA_VALID, GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP, NEEDS_CHECKSUM
from asyncemu.virtio.net import features
from asyncemu.virtio.net.header import HEADER_LENGTH, is_taken, pack_header, parse_header

ALL = (1 << 64) - 1


@given(st.binary(min_size=HEADER_LENGTH, max_size=HEADER_LENGTH), st.integers(14, 65553), st.integers(0, ALL))
def test_parse_any_bytes_is_none_or_fits_the_frame_and_the_features(data: bytes, length: int, negotiated: int) -> None:
    vnet = parse_header(data, length, negotiated)

    if vnet is None:
        return
    if vnet.flags:
        assert vnet.flags == NEEDS_CHECKSUM
        assert negotiated & features.CSUM
        assert vnet.checksum_start + vnet.checksum_offset + 2 <= length
    if vnet.gso_type != GSO_NONE:
        assert vnet.flags
        assert vnet.gso_size > 0
        assert negotiated & (features.HOST_TSO4 | features.HOST_TSO6 | features.HOST_UFO)
    assert parse_header(pack_header(vnet, 1), length, negotiated) == vnet


def test_parse_zeroes_is_the_plain_header_itself() -> None:
    assert parse_header(bytes(10) + b"\x07\x00", 60, 0) is PLAIN


def test_pack_plain_and_equal_to_plain_are_the_same() -> None:
    assert pack_header(PLAIN, 1) == pack_header(VnetHeader(), 1) == bytes(10) + b"\1\0"


def test_is_taken_by_feature() -> None:
    table = [
        (VnetHeader(), 0),
        (VnetHeader(NEEDS_CHECKSUM), features.GUEST_CSUM),
        (VnetHeader(DATA_VALID), features.GUEST_CSUM),
        (VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4), features.GUEST_CSUM | features.GUEST_TSO4),
        (VnetHeader(NEEDS_CHECKSUM, GSO_TCPV6), features.GUEST_CSUM | features.GUEST_TSO6),
        (VnetHeader(NEEDS_CHECKSUM, GSO_UDP), features.GUEST_CSUM | features.GUEST_UFO),
        (
            VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4 | GSO_ECN),
            features.GUEST_CSUM | features.GUEST_TSO4 | features.GUEST_ECN,
        ),
    ]
    bits = [1 << number for number in range(16)]

    for vnet, needed in table:
        assert is_taken(vnet, needed)
        assert not any(is_taken(vnet, needed & ~bit) for bit in bits if needed & bit)


def test_is_taken_unknown_segment_never() -> None:
    assert not is_taken(VnetHeader(NEEDS_CHECKSUM, 0x7F), ALL)
