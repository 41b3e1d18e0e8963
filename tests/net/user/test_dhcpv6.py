# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import dhcpv6
from asyncemu.net.packets.dhcpv6 import Message
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.user.dhcpv6 import Dhcpv6Server, Dhcpv6Settings

MAC = bytes.fromhex("52550a000202")
DNS = bytes.fromhex("fec00000000000000000000000000003")
SETTINGS = Dhcpv6Settings(MAC, (DNS,), ("example.org", "lan"), "tftp://[fec0::2]/kernel")
EVERYTHING = bytes.fromhex("0017 0018 003b")


def ask(options: dict[int, bytes], type: int = dhcpv6.INFORMATION_REQUEST) -> bytes:
    return Message(type, b"abc", options).pack()


def test_receive_request_for_everything_is_read_by_scapy(scapy: Any) -> None:
    request = scapy.DHCP6_InfoRequest(trid=7) / scapy.DHCP6OptClientId(duid=scapy.DUID_LL(lladdr="52:54:00:12:34:56"))
    reply = Dhcpv6Server(SETTINGS).receive(bytes(request / scapy.DHCP6OptOptReq(reqopts=[23, 24, 59])))
    theirs = scapy.DHCP6_Reply(reply)
    assert theirs.trid == 7
    assert theirs[scapy.DHCP6OptServerId].duid.lladdr == "52:55:0a:00:02:02"
    assert theirs[scapy.DHCP6OptClientId].duid.lladdr == "52:54:00:12:34:56"
    assert theirs[scapy.DHCP6OptDNSServers].dnsservers == ["fec0::3"]
    assert theirs[scapy.DHCP6OptDNSDomains].dnsdomains == ["example.org.", "lan."]
    assert theirs[scapy.DHCP6OptBootFileUrl].optdata == b"tftp://[fec0::2]/kernel"


def test_receive_only_what_was_asked_for_is_told() -> None:
    reply = Dhcpv6Server(SETTINGS).receive(ask({dhcpv6.OPTION_REQUEST: b"\0\x17"}))
    assert reply is not None
    assert set(dhcpv6.parse(reply).options) == {dhcpv6.SERVER_IDENTIFIER, dhcpv6.DNS_SERVERS}


def test_receive_nothing_is_set_tells_nothing() -> None:
    reply = Dhcpv6Server(Dhcpv6Settings(MAC)).receive(ask({dhcpv6.OPTION_REQUEST: EVERYTHING}))
    assert reply is not None
    assert set(dhcpv6.parse(reply).options) == {dhcpv6.SERVER_IDENTIFIER}


def test_receive_for_another_server_is_not_answered() -> None:
    assert Dhcpv6Server(SETTINGS).receive(ask({dhcpv6.SERVER_IDENTIFIER: b"\0\3\0\1other!"})) is None


def test_receive_solicit_for_an_address_is_not_answered() -> None:
    assert Dhcpv6Server(SETTINGS).receive(ask({}, type=1)) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [({dhcpv6.IDENTITY_ASSOCIATION: bytes(12)}, "address"), ({dhcpv6.CLIENT_IDENTIFIER: bytes(131)}, "identifier")],
)
def test_receive_broken_request_says_what_is_wrong(options: dict[int, bytes], reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        Dhcpv6Server(SETTINGS).receive(ask(options))


@given(st.binary(max_size=80))
def test_receive_any_bytes_is_malformed_or_answered(data: bytes) -> None:
    try:
        reply = Dhcpv6Server(SETTINGS).receive(b"\x0b" + data)
    except Malformed:
        return
    assert reply is None or dhcpv6.parse(reply).transaction == data[:3]
