# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import icmpv6, ipv6, udp
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import CLIENT6, SERVER6, bytes8, bytes32, payloads

DATAGRAM = udp.pack(CLIENT6, SERVER6, 1234, 53, b"query")
PACKET = ipv6.Header(CLIENT6, SERVER6, udp.PROTOCOL).pack(len(DATAGRAM)) + DATAGRAM


def packet_of(message: bytes) -> bytes:
    return ipv6.Header(CLIENT6, SERVER6, icmpv6.PROTOCOL).pack(len(message)) + message


@given(bytes8, bytes8, bytes32, payloads)
def test_parse_what_pack_made_is_the_same(type: int, code: int, rest: int, payload: bytes) -> None:
    data = packet_of(icmpv6.pack(CLIENT6, SERVER6, type, code, rest, payload))
    assert icmpv6.parse(data, ipv6.parse(data)) == (type, code, rest, 48, len(data))


@given(st.binary(max_size=60))
def test_parse_any_bytes_is_malformed_or_packs_to_them(message: bytes) -> None:
    data = packet_of(message)
    try:
        parsed = icmpv6.parse(data, ipv6.parse(data))
    except Malformed:
        return
    assert packet_of(icmpv6.pack(CLIENT6, SERVER6, *parsed[:3], data[parsed.start :])) == data


def test_parse_seven_bytes_is_malformed() -> None:
    data = packet_of(bytes(7))
    with pytest.raises(Malformed, match="cut"):
        icmpv6.parse(data, ipv6.parse(data))


def test_parse_wrong_checksum_is_malformed() -> None:
    data = packet_of(icmpv6.pack(CLIENT6, SERVER6, icmpv6.ECHO_REQUEST, 0, 1, b"data")[:-1] + b"!")
    with pytest.raises(Malformed, match="checksum"):
        icmpv6.parse(data, ipv6.parse(data))


def test_echo_reply_answers_a_request_of_scapy(scapy: Any) -> None:
    addresses = {"src": "fec0::15", "dst": "fec0::2"}
    data = bytes(scapy.IPv6(**addresses) / scapy.ICMPv6EchoRequest(id=7, seq=8, data=b"ping"))
    message = icmpv6.parse(data, ipv6.parse(data))
    reply = icmpv6.echo_reply(SERVER6, CLIENT6, message, data)
    theirs = scapy.IPv6(src="fec0::2", dst="fec0::15") / scapy.ICMPv6EchoReply(id=7, seq=8, data=b"ping")
    assert reply == bytes(theirs)[40:]
    assert (message.identifier, message.sequence, message.is_error) == (7, 8, False)


def test_error_quotes_the_packet_and_its_ports() -> None:
    data = packet_of(icmpv6.error(CLIENT6, SERVER6, icmpv6.PACKET_TOO_BIG, 0, PACKET, 1280))
    message = icmpv6.parse(data, ipv6.parse(data))
    quoted = icmpv6.quoted(message, data)
    assert (message.is_error, message.mtu) == (True, 1280)
    assert (quoted.header.source, quoted.source_port, quoted.destination_port) == (CLIENT6, 1234, 53)


def test_error_of_a_long_packet_fits_into_1280_bytes() -> None:
    data = icmpv6.error(CLIENT6, SERVER6, icmpv6.UNREACHABLE, icmpv6.NO_ROUTE, PACKET + bytes(2000))
    assert ipv6.HEADER_LENGTH + len(data) == 1280


@given(st.binary(max_size=100))
def test_quoted_any_bytes_is_malformed_or_a_packet(rest: bytes) -> None:
    data = packet_of(icmpv6.error(CLIENT6, SERVER6, icmpv6.TIME_EXCEEDED, 0, b"\x60" + rest))
    message = icmpv6.parse(data, ipv6.parse(data))
    try:
        quoted = icmpv6.quoted(message, data)
    except Malformed:
        return
    assert quoted.header.end <= len(data)


@pytest.mark.parametrize(
    ("header", "payload", "may"),
    [
        (ipv6.Header(CLIENT6, SERVER6, 17), b"", True),
        (ipv6.Header(CLIENT6, SERVER6, 58), bytes((icmpv6.ECHO_REQUEST,)), True),
        (ipv6.Header(CLIENT6, SERVER6, 58), bytes((icmpv6.UNREACHABLE,)), False),
        (ipv6.Header(CLIENT6, SERVER6, 58), bytes((icmpv6.REDIRECT,)), False),
        (ipv6.Header(CLIENT6, SERVER6, 58), b"", False),
        (ipv6.Header(CLIENT6, ipv6.ALL_NODES, 17), b"", False),
        (ipv6.Header(ipv6.ANY, SERVER6, 17), b"", False),
        (ipv6.Header(CLIENT6, SERVER6, 17, fragment=ipv6.Fragment(1, 8, False)), b"", False),
    ],
)
def test_may_report_is_as_rfc_4443_says(header: ipv6.Header, payload: bytes, may: bool) -> None:
    data = header.pack(len(payload)) + payload
    assert icmpv6.may_report(ipv6.parse(data), data) is may
