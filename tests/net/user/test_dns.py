# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import dns, dns_names
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.user.dns import (
    MAX_QUERIES,
    TIMEOUT,
    Answer,
    DnsProxy,
    Forward,
    parse_resolv_conf,
    reverse_name,
)

NAMES = {"Host.lan": (b"\x0a\0\2\2", bytes.fromhex("fec00000000000000000000000000002")), "four.lan": (b"\x0a\0\2\4",)}


def proxy(servers: int = 1) -> DnsProxy:
    return DnsProxy(NAMES, servers, Random(1).getrandbits)


def query(name: str, type: int = dns.A, identification: int = 7) -> bytes:
    head = identification.to_bytes(2, "big") + bytes.fromhex("0100 0001 0000 0000 0000")
    return head + dns_names.pack(name) + type.to_bytes(2, "big") + b"\0\1"


def respond(forward: Answer | Forward, flags: int = 0x8180) -> bytes:
    """What a resolver might say: no such data."""
    return forward.payload[:2] + flags.to_bytes(2, "big") + forward.payload[4:]


def test_query_goes_to_the_resolver_and_its_response_back_with_the_guests_number() -> None:
    table = proxy()
    asked = query("example.org")
    forward = table.query(asked, "client", 0)
    assert isinstance(forward, Forward)
    assert forward.payload[2:] == asked[2:]
    assert forward.payload[:2] != asked[:2]
    response = respond(forward) + b"records"
    assert table.response(response, 0) == Answer("client", asked[:2] + response[2:])
    assert (len(table), table.next_deadline()) == (0, None)


def test_response_twice_comes_back_once() -> None:
    table = proxy()
    response = respond(table.query(query("example.org"), "client", 0))
    table.response(response, 0)
    assert table.response(response, 0) is None
    assert table.unexpected == 1


@pytest.mark.parametrize("case", ["number", "question", "type", "server", "query", "short", "nothing"])
def test_response_that_was_not_asked_for_is_dropped(case: str) -> None:
    table = proxy(2)
    forward = table.query(query("example.org"), "client", 0)
    right = respond(forward)
    number = ((forward.payload[0] ^ 1) << 8 | forward.payload[1]).to_bytes(2, "big")
    wrong = {
        "number": number + right[2:],
        "question": right.replace(b"example", b"exempla"),
        "type": right[:-3] + b"\x1c\0\1",
        "server": right,
        "query": forward.payload,
        "short": right[:11],
        "nothing": right[:4] + bytes(8),
    }[case]
    assert table.response(wrong, 1 if case == "server" else 0) is None
    assert (table.unexpected, len(table)) == (1, 1)


def test_response_of_the_first_resolver_comes_late_is_taken() -> None:
    table = proxy(3)
    forward = table.query(query("example.org"), "client", 0)
    assert table.expire(TIMEOUT) == [Forward(1, forward.payload)]
    assert table.response(respond(forward), 2) is None
    assert table.response(respond(forward), 0) is not None


def test_response_in_another_case_is_taken() -> None:
    table = proxy()
    response = respond(table.query(query("example.org"), "client", 0)).replace(b"example", b"EXAMPLE")
    assert table.response(response, 0) is not None


def test_response_failed_without_the_question_is_taken() -> None:
    table = proxy()
    forward = table.query(query("example.org"), "client", 0)
    assert table.response(forward.payload[:2] + bytes.fromhex("8181 0000 0000 0000 0000"), 0) is not None


def test_query_again_asks_the_next_resolver_and_stays_one() -> None:
    table = proxy(2)
    asked = query("example.org")
    first = table.query(asked, "client", 0)
    second = table.query(asked, "client", 1)
    assert isinstance(first, Forward)
    assert second == Forward(1, first.payload)
    assert len(table) == 1


def test_expire_asks_each_resolver_twice_then_fails() -> None:
    table = proxy(2)
    messages: list[Answer | Forward] = [table.query(query("example.org"), "client", 0)]
    for attempt in range(1, 5):
        assert table.next_deadline() == attempt * TIMEOUT
        assert table.expire(attempt * TIMEOUT - 1) == []
        messages += table.expire(attempt * TIMEOUT)
    assert [each.server for each in messages if isinstance(each, Forward)] == [0, 1, 0, 1]
    assert messages[4] == Answer("client", dns.failure(query("example.org"), dns.SERVER_FAILURE))
    assert (len(table), table.failed) == (0, 1)


def test_query_too_many_the_oldest_makes_room() -> None:
    table = proxy()
    first = table.query(query("example.org", identification=0), "client", 0)
    for number in range(1, MAX_QUERIES + 1):
        table.query(query("example.org", identification=number), "client", number)
    assert (len(table), table.dropped) == (MAX_QUERIES, 1)
    assert table.response(respond(first), 0) is None


def test_query_random_number_is_taken_uses_the_next() -> None:
    table = DnsProxy({}, 1, lambda bits: 0xFFFF)
    forwards = [table.query(query("example.org"), client, 0).payload[:2] for client in range(3)]
    assert forwards == [b"\xff\xff", b"\0\0", b"\0\1"]


def test_query_without_a_resolver_fails_at_once(scapy: Any) -> None:
    answer = proxy(0).query(query("example.org"), "client", 0)
    assert isinstance(answer, Answer)
    assert scapy.DNS(answer.payload).rcode == 2


@pytest.mark.parametrize(
    ("name", "type", "found"),
    [
        ("host.LAN", dns.A, ["10.0.2.2"]),
        ("host.lan", dns.AAAA, ["fec0::2"]),
        ("host.lan", 15, []),
        ("four.lan", dns.AAAA, []),
        ("2.2.0.10.in-addr.arpa", dns.PTR, [b"Host.lan."]),
        (reverse_name(NAMES["Host.lan"][1]), dns.PTR, [b"Host.lan."]),
    ],
)
def test_query_static_name_is_answered(scapy: Any, name: str, type: int, found: list[Any]) -> None:
    answer = proxy().query(query(name, type), "client", 0)
    assert isinstance(answer, Answer)
    theirs = scapy.DNS(answer.payload)
    assert (theirs.id, theirs.rcode) == (7, 0)
    assert [each.rdata for each in theirs.an or ()] == found


def test_query_with_two_questions_is_a_format_error() -> None:
    asked = bytearray(query("host.lan"))
    asked[5] = 2
    answer = proxy().query(bytes(asked), "client", 0)
    assert isinstance(answer, Answer)
    assert answer.payload[3] & 15 == dns.FORMAT_ERROR


@pytest.mark.parametrize("payload", [b"", bytes(11), respond(Forward(0, query("a"))), query("a") + bytes(4096)])
def test_query_that_is_none_is_malformed(payload: bytes) -> None:
    with pytest.raises(Malformed, match="not a query"):
        proxy().query(payload, "client", 0)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=30), st.integers(0, 10)), max_size=20))
def test_any_messages_keep_the_table_in_order(messages: list[tuple[bool, bytes, int]]) -> None:
    table = proxy(2)
    now = 0
    for from_guest, data, later in messages:
        now += later * TIMEOUT // 4
        payload = bytes(2) + (b"\1" if from_guest else b"\x81") + b"\0\0\1" + bytes(6) + data
        if from_guest:
            assert table.query(payload, "client", now) is not None
        else:
            table.response(payload, 0)
        table.expire(now)
        deadline = table.next_deadline()
        assert deadline is None or deadline > now
    for _ in range(4):
        now += TIMEOUT
        table.expire(now)
    assert len(table) == 0


def test_parse_resolv_conf_of_many_kinds_gives_three_addresses() -> None:
    text = """
# nameserver 9.9.9.9
nameserver 192.0.2.1
search example.org
nameserver
nameserver not-an-address
nameserver fe80::1%eth0
  nameserver 2001:db8::1  # the third
nameserver 192.0.2.4
"""
    assert parse_resolv_conf(text) == ["192.0.2.1", "fe80::1%eth0", "2001:db8::1"]
