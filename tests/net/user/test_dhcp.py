# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import dhcp, ethernet
from asyncemu.net.packets.dhcp import Message
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.user.dhcp import DECLINED_TIME, MAX_POOL, OFFER_TIME, DhcpServer, DhcpSettings, Reply

SECOND = 1_000_000_000
SERVER = b"\x0a\0\2\2"
BROADCAST = b"\xff\xff\xff\xff"
MAC = bytes.fromhex("525400123456")
OTHER = bytes.fromhex("525400123457")
SETTINGS = DhcpSettings(
    server=SERVER, netmask=b"\xff\xff\xff\0", first=b"\x0a\0\2\x0f", last=b"\x0a\0\2\xfe", router=SERVER
)


def address(last: int) -> bytes:
    return bytes((10, 0, 2, last))


def ask(kind: int, options: dict[int, bytes] | None = None, mac: bytes = MAC, **fields: Any) -> bytes:
    given = {dhcp.MESSAGE_TYPE: bytes((kind,))} if kind else {}
    return Message(dhcp.REQUEST, 7, mac, {**given, **(options or {})}, **fields).pack()


def talk(server: DhcpServer, payload: bytes, now: int = 0) -> Message:
    reply = server.receive(payload, now)
    assert reply is not None
    return dhcp.parse(reply.payload)


def get(server: DhcpServer, mac: bytes = MAC, now: int = 0) -> bytes:
    """The whole way to a lease."""
    offer = talk(server, ask(dhcp.DISCOVER, mac=mac), now)
    options = {dhcp.SERVER_IDENTIFIER: SERVER, dhcp.REQUESTED_ADDRESS: offer.your}
    ack = talk(server, ask(dhcp.REQUEST_ADDRESS, options, mac), now)
    assert (offer.type, ack.type, ack.your) == (dhcp.OFFER, dhcp.ACK, offer.your)
    return ack.your


def test_receive_discover_and_request_gives_the_first_address_for_a_day() -> None:
    server = DhcpServer(SETTINGS)
    assert get(server) == address(15)
    assert talk(server, ask(dhcp.DISCOVER)).options[dhcp.LEASE_TIME] == (86400).to_bytes(4, "big")


def test_receive_second_client_gets_the_next_address() -> None:
    server = DhcpServer(SETTINGS)
    assert [get(server), get(server, OTHER), get(server)] == [address(15), address(16), address(15)]


def test_receive_offer_is_read_by_scapy(scapy: Any) -> None:
    settings = replace(
        SETTINGS,
        dns_servers=(address(3),),
        host_name="guest",
        domain_name="example.org",
        domain_search=("example.org", "lab.example.org"),
        tftp_server=SERVER,
        tftp_server_name="boot",
        boot_file="kernel",
        mtu=1400,
    )
    reply = DhcpServer(settings).receive(
        bytes(
            scapy.BOOTP(op=1, xid=7, chaddr=MAC, flags="B")
            / scapy.DHCP(options=[("message-type", "discover"), ("max_dhcp_size", 1400), "end"])
        ),
        0,
    )
    assert reply is not None
    theirs = scapy.BOOTP(reply.payload)
    options: dict[str, Any] = dict(option for option in theirs[scapy.DHCP].options if isinstance(option, tuple))
    assert (theirs.yiaddr, theirs.siaddr, theirs.file.rstrip(b"\0")) == ("10.0.2.15", "10.0.2.2", b"kernel")
    assert (options["server_id"], options["router"], options["name_server"]) == ("10.0.2.2", "10.0.2.2", "10.0.2.3")
    assert (options["subnet_mask"], options["interface-mtu"]) == ("255.255.255.0", 1400)
    assert (options["hostname"], options["domain"]) == (b"guest", b"example.org")
    assert (options["tftp_server_name"], options["boot-file-name"]) == (b"boot", b"kernel")
    assert reply[:2] == (BROADCAST, ethernet.BROADCAST)


def test_receive_request_of_another_server_frees_the_offer() -> None:
    server = DhcpServer(SETTINGS)
    talk(server, ask(dhcp.DISCOVER))
    assert server.receive(ask(dhcp.REQUEST_ADDRESS, {dhcp.SERVER_IDENTIFIER: address(9)}), 0) is None
    assert server.leases == {}


@pytest.mark.parametrize("wanted", [b"\xc0\xa8\1\5", SERVER, address(14), b"abc"])
def test_receive_request_of_what_it_can_not_have_is_refused_to_all(wanted: bytes) -> None:
    reply = DhcpServer(SETTINGS).receive(ask(dhcp.REQUEST_ADDRESS, {dhcp.REQUESTED_ADDRESS: wanted}), 0)
    assert reply is not None
    message = dhcp.parse(reply.payload)
    assert (message.type, message.your, dhcp.SUBNET_MASK in message.options) == (dhcp.NAK, bytes(4), False)
    assert reply[:2] == (BROADCAST, ethernet.BROADCAST)


def test_receive_request_of_an_address_of_another_is_refused() -> None:
    server = DhcpServer(SETTINGS)
    get(server)
    assert talk(server, ask(dhcp.REQUEST_ADDRESS, {dhcp.REQUESTED_ADDRESS: address(15)}, OTHER)).type == dhcp.NAK


def test_receive_request_of_another_address_than_it_has_is_refused() -> None:
    server = DhcpServer(SETTINGS)
    get(server)
    assert talk(server, ask(dhcp.REQUEST_ADDRESS, {dhcp.REQUESTED_ADDRESS: address(20)})).type == dhcp.NAK


def test_receive_request_after_a_restart_keeps_the_address() -> None:
    server = DhcpServer(SETTINGS)
    assert talk(server, ask(dhcp.REQUEST_ADDRESS, {dhcp.REQUESTED_ADDRESS: address(20)})).your == address(20)
    assert get(server) == address(20)


def test_receive_renewal_is_answered_at_the_address() -> None:
    server = DhcpServer(SETTINGS)
    get(server)
    reply = server.receive(ask(dhcp.REQUEST_ADDRESS, client=address(15)), 0)
    assert reply is not None
    assert reply[:2] == (address(15), MAC)
    assert dhcp.parse(reply.payload).client == address(15)


def test_receive_without_broadcast_flag_is_answered_to_the_client_alone() -> None:
    reply = DhcpServer(SETTINGS).receive(ask(dhcp.DISCOVER), 0)
    assert reply is not None
    assert reply[:2] == (address(15), MAC)


def test_receive_wanted_address_is_offered_when_it_is_free() -> None:
    server = DhcpServer(SETTINGS)
    assert talk(server, ask(dhcp.DISCOVER, {dhcp.REQUESTED_ADDRESS: address(33)})).your == address(33)
    assert talk(server, ask(dhcp.DISCOVER, {dhcp.REQUESTED_ADDRESS: address(33)}, OTHER)).your == address(15)


def test_receive_fixed_client_gets_its_address_and_nobody_else_does() -> None:
    server = DhcpServer(replace(SETTINGS, fixed={OTHER: address(15)}))
    assert [get(server), get(server, OTHER)] == [address(16), address(15)]
    assert talk(server, ask(dhcp.REQUEST_ADDRESS, {dhcp.REQUESTED_ADDRESS: address(16)}, OTHER)).type == dhcp.NAK


def test_receive_decline_keeps_the_address_from_all_for_a_while() -> None:
    server = DhcpServer(SETTINGS)
    get(server)
    options = {dhcp.REQUESTED_ADDRESS: address(15), dhcp.SERVER_IDENTIFIER: SERVER}
    assert server.receive(ask(dhcp.DECLINE, options), 0) is None
    assert get(server) == address(16)
    assert get(server, OTHER, DECLINED_TIME) == address(15)


def test_receive_decline_of_what_it_was_not_given_is_ignored() -> None:
    server = DhcpServer(SETTINGS)
    server.receive(ask(dhcp.DECLINE, {dhcp.REQUESTED_ADDRESS: address(15)}), 0)
    assert get(server) == address(15)


def test_receive_release_frees_the_address() -> None:
    server = DhcpServer(SETTINGS)
    get(server)
    assert server.receive(ask(dhcp.RELEASE, client=address(15)), 0) is None
    assert get(server, OTHER) == address(15)


def test_receive_release_of_the_address_of_another_is_ignored() -> None:
    server = DhcpServer(SETTINGS)
    get(server)
    server.receive(ask(dhcp.RELEASE, mac=OTHER, client=address(15)), 0)
    assert server.leases == {MAC: address(15)}


def test_receive_inform_tells_all_but_an_address() -> None:
    message = talk(DhcpServer(SETTINGS), ask(dhcp.INFORM, client=address(77)))
    assert (message.type, message.your, message.options[dhcp.ROUTER]) == (dhcp.ACK, bytes(4), SERVER)
    assert dhcp.LEASE_TIME not in message.options


def test_receive_bootp_gets_an_address_and_the_file() -> None:
    message = talk(DhcpServer(replace(SETTINGS, boot_file="kernel")), ask(0))
    assert (message.type, message.your, message.file) == (0, address(15), b"kernel")


def test_receive_pool_is_used_up_is_silent_and_counted() -> None:
    server = DhcpServer(replace(SETTINGS, last=address(16)))
    get(server)
    get(server, OTHER)
    assert server.receive(ask(dhcp.DISCOVER, mac=b"\2\0\0\0\0\1"), 0) is None
    assert server.exhausted == 1


def test_receive_offer_has_run_out_goes_to_the_next_client() -> None:
    server = DhcpServer(replace(SETTINGS, last=address(15)))
    talk(server, ask(dhcp.DISCOVER))
    assert server.receive(ask(dhcp.DISCOVER, mac=OTHER), OFFER_TIME - 1) is None
    assert get(server, OTHER, OFFER_TIME) == address(15)


def test_receive_discover_with_a_lease_does_not_shorten_it() -> None:
    server = DhcpServer(replace(SETTINGS, last=address(15)))
    get(server)
    talk(server, ask(dhcp.DISCOVER), 1)
    assert server.receive(ask(dhcp.DISCOVER, mac=OTHER), 2 * OFFER_TIME) is None


def test_receive_many_clients_are_bounded() -> None:
    server = DhcpServer(replace(SETTINGS, last=b"\x0a\xff\xff\xff"))
    for number in range(200):
        server.receive(ask(dhcp.DISCOVER, mac=b"\2\0\0\0\0" + bytes((number,))), 0)
    assert len(server.leases) == MAX_POOL
    assert server.exhausted == 200 - MAX_POOL


def test_receive_addresses_of_ours_are_not_in_the_pool() -> None:
    settings = replace(SETTINGS, first=address(2), dns_servers=(address(3),))
    assert get(DhcpServer(settings)) == address(4)


def test_receive_restricted_network_has_no_router() -> None:
    assert dhcp.ROUTER not in talk(DhcpServer(replace(SETTINGS, router=None)), ask(dhcp.DISCOVER)).options


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (Message(dhcp.REPLY, 7, MAC, {}).pack(), "reply"),
        (ask(dhcp.DISCOVER, relay=SERVER), "relay"),
        (ask(dhcp.DISCOVER, mac=bytes(6)), "nobody"),
        (ask(dhcp.DISCOVER, mac=BROADCAST + b"\xff\xff"), "nobody"),
        (ask(dhcp.OFFER), "no client sends"),
        (ask(0, {dhcp.MESSAGE_TYPE: b"\1\2"}), "no client sends"),
    ],
)
def test_receive_what_no_client_sends_is_malformed(payload: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        DhcpServer(SETTINGS).receive(payload, 0)


steps = st.tuples(
    st.integers(0, 8), st.integers(0, 3), st.none() | st.integers(13, 19), st.integers(13, 19), st.integers(0, 90000)
)


@given(st.lists(steps, max_size=30))
def test_receive_any_messages_never_give_an_address_to_two(
    messages: list[tuple[int, int, int | None, int, int]],
) -> None:
    server = DhcpServer(replace(SETTINGS, last=address(17), fixed={b"\2\0\0\0\0\0": address(16)}))
    now = 0
    for kind, client, wanted, own, later in messages:
        now += later * SECOND
        options = {dhcp.REQUESTED_ADDRESS: address(wanted)} if wanted is not None else {}
        try:
            reply: Reply | None = server.receive(
                ask(kind, options, b"\2\0\0\0\0" + bytes((client,)), client=address(own)), now
            )
        except Malformed:
            continue
        assert reply is None or dhcp.parse(reply.payload).transaction == 7
        assert len(set(server.leases.values())) == len(server.leases)
        assert set(server.leases.values()) <= {address(15), address(16), address(17)}
