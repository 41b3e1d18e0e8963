# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses in one word, as QEMU writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncemu.chardev.address import InetAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:a.sock", Path("a.sock")),
        ("unix:/run/a:b", Path("/run/a:b")),
        ("tcp:localhost:4444", InetAddress("localhost", 4444, 4444)),
        ("tcp::0", InetAddress("", 0, 0)),
        ("tcp:[::1]:65535", InetAddress("::1", 65535, 65535)),
    ],
)
def test_parse_address_unix_and_tcp(text: str, address: Path | InetAddress) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "unix:", "a.sock", "udp:x:1", "tcp:x", "tcp:4444:", "tcp:x:65536", "tcp:x:²"])
def test_parse_address_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^is not an address; write unix:PATH, or tcp:HOST:PORT"):
        parse_address(text)
