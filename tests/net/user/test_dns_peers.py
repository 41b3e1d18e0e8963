# SPDX-License-Identifier: GPL-2.0-or-later
"""A resolver that others wrote answers through our proxy."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from asyncemu.net.packets import dns, dns_names
from asyncemu.net.user.dns import Answer, DnsProxy, Forward

pytestmark = pytest.mark.skipif(shutil.which("dnsmasq") is None, reason="dnsmasq is not installed")


@pytest.fixture
def resolver() -> Iterator[int]:
    """The port of a dnsmasq on 127.0.0.1 that knows one name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=", "--pid-file="]
    arguments += [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--log-facility=-"]
    arguments += ["--address=/example.test/192.0.2.7", "--txt-record=long.test," + "x" * 200]
    process = subprocess.Popen(["dnsmasq", *arguments], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    # It says so when it is ready, or why it is not.
    assert "started" in process.stderr.readline()
    yield port
    process.terminate()
    process.wait()
    process.stderr.close()


def ask(port: int, name: str, type: int) -> bytes:
    """A query of a guest, through the proxy and back."""
    query = bytes.fromhex("0007 0100 0001 0000 0000 0001") + dns_names.pack(name) + type.to_bytes(2, "big") + b"\0\1"
    query += bytes.fromhex("00 0029 1000 0000 0000 0000")
    proxy = DnsProxy({}, 1, secrets.randbits)
    forward = proxy.query(query, "client", 0)
    assert isinstance(forward, Forward)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as upstream:
        upstream.settimeout(20)
        upstream.connect(("127.0.0.1", port))
        upstream.send(forward.payload)
        answer = proxy.response(upstream.recv(65535), 0)
    assert isinstance(answer, Answer)
    return answer.payload


def test_query_answered_by_dnsmasq_comes_back_whole(scapy: Any, resolver: int) -> None:
    theirs = scapy.DNS(ask(resolver, "www.Example.test", dns.A))
    assert (theirs.id, theirs.qd[0].qname, theirs.an[0].rdata) == (7, b"www.Example.test.", "192.0.2.7")


def test_query_with_edns_answered_by_dnsmasq_has_edns(scapy: Any, resolver: int) -> None:
    theirs = scapy.DNS(ask(resolver, "long.test", 16))
    assert theirs.an[0].rdata == [b"x" * 200]
    assert theirs.ar[0].type == dns.OPT


def test_query_refused_by_dnsmasq_comes_back_as_refused(scapy: Any, resolver: int) -> None:
    assert scapy.DNS(ask(resolver, "unknown.invalid", dns.A)).rcode in (3, 5)
