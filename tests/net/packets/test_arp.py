# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import arp
from asyncemu.net.packets.errors import Malformed
from tests.net.packets.strategies import CLIENT, MAC, ROUTER_MAC, SERVER, bytes16, ipv4s, macs

packets = st.builds(arp.Packet, bytes16, macs, ipv4s, macs, ipv4s)


@given(packets)
def test_parse_what_pack_made_is_the_same(packet: arp.Packet) -> None:
    assert arp.parse(packet.pack()) == packet


@given(st.binary(max_size=40))
def test_parse_any_bytes_is_malformed_or_packs_to_them(data: bytes) -> None:
    try:
        packet = arp.parse(data)
    except Malformed:
        return
    assert packet.pack() == data[: arp.LENGTH]


def test_parse_a_request_says_who_asks() -> None:
    data = bytes.fromhex("0001080006040001") + MAC + CLIENT + bytes(6) + SERVER
    assert arp.parse(data) == arp.Packet(arp.REQUEST, MAC, CLIENT, bytes(6), SERVER)


def test_parse_27_bytes_is_malformed() -> None:
    with pytest.raises(Malformed, match="cut"):
        arp.parse(bytes(27))


def test_parse_of_another_hardware_is_malformed() -> None:
    data = bytes.fromhex("0006080006040001") + bytes(20)
    with pytest.raises(Malformed, match="Ethernet and IPv4"):
        arp.parse(data)


def test_reply_says_to_who_asked_where_the_target_is(scapy: Any) -> None:
    request = arp.Packet(arp.REQUEST, MAC, CLIENT, bytes(6), SERVER)
    theirs = scapy.ARP(arp.reply(request, ROUTER_MAC).pack())
    assert (theirs.op, theirs.hwsrc, theirs.psrc) == (2, "52:55:0a:00:02:02", "10.0.2.2")
    assert (theirs.hwdst, theirs.pdst) == ("52:54:00:12:34:56", "10.0.2.15")


def test_is_announcement_of_the_own_address_holds() -> None:
    assert arp.Packet(arp.REQUEST, MAC, CLIENT, bytes(6), CLIENT).is_announcement
    assert not arp.Packet(arp.REQUEST, MAC, CLIENT, bytes(6), SERVER).is_announcement
