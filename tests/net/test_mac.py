# SPDX-License-Identifier: GPL-2.0-or-later
"""Ethernet addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.mac import FIRST, MacAddresses, format_mac, parse_mac


@given(st.binary(min_size=6, max_size=6).filter(lambda address: not address[0] & 1))
def test_parse_of_format_is_the_same(address: bytes) -> None:
    assert parse_mac(format_mac(address)) == parse_mac(format_mac(address).upper().replace(":", "-")) == address


@pytest.mark.parametrize(
    "text", ["", "52:54:00:12:34", "52:54:00:12:34:5g", "52:54-00:12:34:56", "525400123456", "x" * 99]
)
def test_parse_what_is_no_address_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not an Ethernet address; write it as 52:54:00:12:34:56"):
        parse_mac(text)


def test_choose_first_free_and_again_when_given_back() -> None:
    addresses = MacAddresses()
    taken = [addresses.choose(FIRST[:5] + b"\x57"), addresses.choose(), addresses.choose()]
    addresses.give_back(FIRST)

    assert [address[-1] for address in (*taken, addresses.choose())] == [0x57, 0x56, 0x58, 0x56]


def test_choose_when_all_are_taken_is_a_value_error() -> None:
    addresses = MacAddresses()
    for _ in range(0x56, 0x100):
        addresses.choose()

    with pytest.raises(ValueError, match="all default Ethernet addresses are taken; set mac"):
        addresses.choose()
