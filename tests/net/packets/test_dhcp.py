# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import dhcp
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import MAC, bytes8, bytes16, bytes32, ipv4s, macs

codes = st.integers(1, 254).filter(lambda code: code != dhcp.OVERLOAD)
texts = st.binary(max_size=63).map(lambda text: text.replace(b"\0", b"x"))
messages = st.builds(
    dhcp.Message,
    bytes8,
    bytes32,
    macs,
    st.dictionaries(codes, st.binary(max_size=300), max_size=3),
    bytes16,
    bytes16,
    ipv4s,
    ipv4s,
    ipv4s,
    ipv4s,
    texts,
    texts,
)


def with_options(options: bytes, server_name: bytes = b"", file: bytes = b"") -> bytes:
    head = struct.pack("!BBBBIHH4s4s4s4s16s64s128s", 1, 1, 6, 0, 7, 0, 0, *[bytes(4)] * 4, MAC, server_name, file)
    return head + b"\x63\x82\x53\x63" + options


@given(messages)
def test_parse_what_pack_made_is_the_same(message: dhcp.Message) -> None:
    assert dhcp.parse(message.pack(2000)) == message


@given(st.binary(max_size=100), st.binary(max_size=64), st.binary(max_size=128))
def test_parse_any_options_is_malformed_or_a_message(options: bytes, server_name: bytes, file: bytes) -> None:
    data = with_options(b"\x34\1\3" + options, server_name, file)
    try:
        message = dhcp.parse(data)
    except Malformed:
        return
    assert sum(map(len, message.options.values())) <= len(data)


@given(st.binary(max_size=300))
def test_parse_any_bytes_is_malformed_or_a_message(data: bytes) -> None:
    try:
        dhcp.parse(b"\1\1\6" + data)
    except Malformed as error:
        assert str(error)


def test_pack_message_is_read_by_scapy(scapy: Any) -> None:
    options = {dhcp.MESSAGE_TYPE: b"\2", dhcp.ROUTER: b"\x0a\0\2\2", dhcp.BOOT_FILE: b"kernel"}
    message = dhcp.Message(dhcp.REPLY, 7, MAC, options, your=b"\x0a\0\2\x0f", file=b"kernel")
    theirs = scapy.BOOTP(message.pack())
    assert (theirs.op, theirs.xid, theirs.yiaddr, theirs.file.rstrip(b"\0")) == (2, 7, "10.0.2.15", b"kernel")
    assert theirs[scapy.DHCP].options[:3] == [
        ("message-type", 2),
        ("router", "10.0.2.2"),
        ("boot-file-name", b"kernel"),
    ]


def test_pack_short_message_is_of_300_bytes() -> None:
    assert len(dhcp.Message(dhcp.REPLY, 7, MAC, {}).pack()) == 300


def test_pack_too_many_options_leaves_out_those_that_do_not_fit() -> None:
    message = dhcp.Message(dhcp.REPLY, 7, MAC, {1: bytes(100), 2: bytes(400), 3: bytes(100)})
    packed = message.pack()
    assert len(packed) <= dhcp.MAX_LENGTH
    assert list(dhcp.parse(packed).options) == [1, 3]


def test_parse_options_in_the_file_and_the_servers_name_are_read() -> None:
    data = with_options(b"\x34\1\3\xff", server_name=b"\x0f\2de\xff", file=b"\x0f\3abc\xff")
    message = dhcp.parse(data)
    assert (message.options[15], message.file, message.server_name) == (b"abcde", b"", b"")


def test_parse_option_twice_is_one() -> None:
    assert dhcp.parse(with_options(b"\x77\1a\0\x77\1b\xff")).options == {119: b"ab"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(239), "cut"),
        (bytes(240), "Ethernet"),
        (with_options(b"")[:236] + bytes(4), "cookie"),
        (with_options(b"\1\4abc"), "past the end"),
        (with_options(b"\1"), "past the end"),
    ],
)
def test_parse_broken_message_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        dhcp.parse(data)


def test_type_and_address_of_a_wrong_length_are_none() -> None:
    message = dhcp.Message(1, 7, MAC, {53: b"\1\2", 50: b"abc"})
    assert (message.type, message.address(50)) == (0, None)
