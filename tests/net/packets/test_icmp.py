# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import icmp, ipv4, udp
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import CLIENT, SERVER, bytes8, bytes16, bytes32, payloads

DATAGRAM = udp.pack(CLIENT, SERVER, 1234, 53, b"query")
PACKET = ipv4.Header(CLIENT, SERVER, udp.PROTOCOL).pack(len(DATAGRAM)) + DATAGRAM


@given(bytes8, bytes8, bytes32, payloads)
def test_parse_what_pack_made_is_the_same(type: int, code: int, rest: int, payload: bytes) -> None:
    data = icmp.pack(type, code, rest, payload)
    assert icmp.parse(data) == (type, code, rest, 8, len(data))


@given(st.binary(max_size=60))
def test_parse_any_bytes_is_malformed_or_packs_to_them(data: bytes) -> None:
    try:
        message = icmp.parse(data)
    except Malformed:
        return
    assert icmp.pack(*message[:3], data[8:]) == data


@given(bytes16, bytes16, payloads)
def test_echo_is_what_scapy_makes(scapy: Any, identifier: int, sequence: int, payload: bytes) -> None:
    theirs = scapy.ICMP(type="echo-reply", id=identifier, seq=sequence) / payload
    data = icmp.echo(icmp.ECHO_REPLY, identifier, sequence, payload)
    message = icmp.parse(data)
    assert data == bytes(theirs)
    assert (message.identifier, message.sequence) == (identifier, sequence)


def test_parse_wrong_checksum_is_malformed() -> None:
    data = icmp.echo(icmp.ECHO_REQUEST, 1, 2, b"data")
    with pytest.raises(Malformed, match="checksum"):
        icmp.parse(data[:-1] + b"!")


def test_parse_seven_bytes_is_malformed() -> None:
    with pytest.raises(Malformed, match="cut"):
        icmp.parse(bytes(7))


def test_error_quotes_the_packet_and_its_ports(scapy: Any) -> None:
    data = icmp.error(icmp.UNREACHABLE, icmp.PORT_UNREACHABLE, PACKET)
    theirs = scapy.ICMP(data)
    message = icmp.parse(data)
    quoted = icmp.quoted(message, data)
    assert (theirs[scapy.IPerror].src, theirs[scapy.UDPerror].dport) == ("10.0.2.15", 53)
    assert message.is_error
    assert (quoted.header.source, quoted.source_port, quoted.destination_port) == (CLIENT, 1234, 53)


def test_error_of_a_long_packet_fits_into_576_bytes() -> None:
    data = icmp.error(icmp.UNREACHABLE, icmp.FRAGMENTATION_NEEDED, PACKET + bytes(2000), 1400)
    assert ipv4.HEADER_LENGTH + len(data) == 576
    assert icmp.parse(data).mtu == 1400


@given(st.binary(max_size=60))
def test_quoted_any_bytes_is_malformed_or_a_packet(packet: bytes) -> None:
    data = icmp.error(icmp.TIME_EXCEEDED, icmp.TTL_EXCEEDED, b"\x45" + packet)
    message = icmp.parse(data)
    try:
        quoted = icmp.quoted(message, data)
    except Malformed:
        return
    assert quoted.header.end <= len(data)


def test_quoted_ports_are_missing_gives_zeros() -> None:
    data = icmp.error(icmp.UNREACHABLE, icmp.HOST_UNREACHABLE, PACKET[:22])
    assert icmp.quoted(icmp.parse(data), data)[1:] == (0, 0)


@pytest.mark.parametrize(
    ("header", "payload", "may"),
    [
        (ipv4.Header(CLIENT, SERVER, 17), b"", True),
        (ipv4.Header(CLIENT, SERVER, 1), icmp.echo(8, 1, 1, b""), True),
        (ipv4.Header(CLIENT, SERVER, 1), icmp.error(3, 3, PACKET), False),
        (ipv4.Header(CLIENT, SERVER, 1), b"", False),
        (ipv4.Header(CLIENT, ipv4.BROADCAST, 17), b"", False),
        (ipv4.Header(CLIENT, b"\xe0\0\0\1", 17), b"", False),
        (ipv4.Header(ipv4.ANY, SERVER, 17), b"", False),
        (ipv4.Header(b"\x7f\0\0\1", SERVER, 17), b"", False),
        (ipv4.Header(ipv4.BROADCAST, SERVER, 17), b"", False),
        (ipv4.Header(CLIENT, SERVER, 17, fragment=1), b"", False),
    ],
)
def test_may_report_is_as_rfc_1122_says(header: ipv4.Header, payload: bytes, may: bool) -> None:
    data = header.pack(len(payload)) + payload
    assert icmp.may_report(ipv4.parse(data), data) is may
