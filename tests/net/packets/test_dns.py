# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.packets import dns
from asyncemu.net.packets.errors import Malformed


def query_of(scapy: Any, name: str, type: str = "A", **fields: Any) -> bytes:
    return bytes(scapy.DNS(id=7, rd=1, qd=scapy.DNSQR(qname=name, qtype=type), **fields))


@given(st.binary(max_size=60))
def test_parse_any_question_is_malformed_or_within_it(rest: bytes) -> None:
    data = bytes.fromhex("0007 0100 0001 0000 0000 0000") + rest
    try:
        message = dns.parse(data)
    except Malformed:
        return
    assert 12 < message.end <= len(data)
    assert dns.parse(dns.failure(data, dns.SERVER_FAILURE))[2:5] == message[2:5]


def test_parse_query_of_scapy_says_what_is_asked(scapy: Any) -> None:
    message = dns.parse(query_of(scapy, "Example.org", "AAAA"))
    assert (message.identification, message.name, message.type, message.class_) == (7, "Example.org", 28, 1)
    assert not message.is_response


def test_answer_is_read_by_scapy(scapy: Any) -> None:
    data = query_of(scapy, "host.lan")
    theirs = scapy.DNS(dns.answer(dns.parse(data), data, [b"\x0a\0\2\2", b"\x0a\0\2\3"], 60))
    assert (theirs.id, theirs.qr, theirs.aa, theirs.rd, theirs.ra, theirs.rcode) == (7, 1, 1, 1, 1, 0)
    assert [(each.rrname, each.rdata, each.ttl) for each in theirs.an] == [
        (b"host.lan.", "10.0.2.2", 60),
        (b"host.lan.", "10.0.2.3", 60),
    ]


def test_answer_to_edns_has_edns(scapy: Any) -> None:
    data = query_of(scapy, "host.lan", ar=scapy.DNSRROPT(rclass=4096))
    theirs = scapy.DNS(dns.answer(dns.parse(data), data, [], 60))
    assert (theirs.arcount, theirs.ar[0].type, theirs.ar[0].rclass) == (1, 41, 1232)


def test_failure_repeats_the_question(scapy: Any) -> None:
    theirs = scapy.DNS(dns.failure(query_of(scapy, "host.lan"), dns.SERVER_FAILURE))
    assert (theirs.id, theirs.qr, theirs.rcode, theirs.qd[0].qname) == (7, 1, 2, b"host.lan.")


def test_failure_of_a_broken_query_has_no_question() -> None:
    data = bytes.fromhex("0007 0100 0002 0000 0000 0000")
    assert dns.failure(data, dns.FORMAT_ERROR) == bytes.fromhex("0007 8181 0000 0000 0000 0000")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (bytes(11), "header is cut"),
        (bytes(12), "not one question"),
        (bytes.fromhex("0007 0100 0001 0000 0000 0000 00 0001 00"), "question is cut"),
        (bytes.fromhex("0007 0100 0001 0000 0000 0000 c00c 0001 0001"), "label"),
    ],
)
def test_parse_broken_message_says_what_is_wrong(data: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        dns.parse(data)
