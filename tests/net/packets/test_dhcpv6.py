# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import dhcpv6
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import bytes8, bytes16

messages = st.builds(
    dhcpv6.Message,
    bytes8,
    st.binary(min_size=3, max_size=3),
    st.dictionaries(bytes16, st.binary(max_size=40), max_size=4),
)


@given(messages)
def test_parse_what_pack_made_is_the_same(message: dhcpv6.Message) -> None:
    assert dhcpv6.parse(message.pack()) == message


@given(st.binary(max_size=60))
def test_parse_any_bytes_is_malformed_or_within_them(data: bytes) -> None:
    try:
        message = dhcpv6.parse(data)
    except Malformed:
        return
    assert len(message.pack()) <= len(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(bytes(3), "message is cut"), (bytes(7), "option is cut"), (bytes(4) + b"\0\1\0\2x", "past the end")],
)
def test_parse_broken_message_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        dhcpv6.parse(data)


def test_parse_option_twice_is_the_first() -> None:
    assert dhcpv6.parse(b"\x0babc\0\7\0\1x\0\7\0\1y").options == {7: b"x"}


def test_requested_of_an_odd_length_leaves_the_rest_out() -> None:
    assert dhcpv6.Message(11, b"abc", {6: b"\0\x17\0\x18\0"}).requested == {23, 24}
