# SPDX-License-Identifier: GPL-2.0-or-later
"""The header of virtio-net as bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net import vnet_header
from asyncemu.net.frame import DATA_VALID, GSO_TCPV4, NEEDS_CHECKSUM, PLAIN, VnetHeader
from asyncemu.net.packets.errors import Malformed


def test_pack_plain_is_zeroes() -> None:
    assert vnet_header.pack(PLAIN) == vnet_header.pack(VnetHeader()) == bytes(12)


@given(st.binary(min_size=10, max_size=12), st.integers(min_value=0, max_value=70_000))
def test_parse_any_bytes_are_a_header_that_fits_or_malformed(data: bytes, length: int) -> None:
    try:
        vnet = vnet_header.parse(data, length)
    except Malformed:
        return
    assert vnet_header.parse(vnet_header.pack(vnet), length) == vnet
    if vnet.flags & NEEDS_CHECKSUM:
        assert vnet.checksum_start + vnet.checksum_offset + 2 <= length


def test_parse_valid_data_without_more_is_kept() -> None:
    data = vnet_header.pack(VnetHeader(DATA_VALID))

    assert vnet_header.parse(data, 60) == VnetHeader(DATA_VALID)


@pytest.mark.parametrize(
    ("vnet", "problem"),
    [
        (VnetHeader(NEEDS_CHECKSUM, 0, 0, 0, 34, 25), "checksum lies behind the end of the frame"),
        (VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4, 54, 0, 34, 16), "segments of no bytes"),
    ],
)
def test_parse_header_that_does_not_fit_is_malformed(vnet: VnetHeader, problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        vnet_header.parse(vnet_header.pack(vnet), 60)
