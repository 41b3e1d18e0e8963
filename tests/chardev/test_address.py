# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses in one word, as QEMU writes them."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from asyncemu.chardev import address as address_module
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


# ---- listening


async def test_listen_without_host_is_loopback_by_each_family_at_one_port() -> None:
    listeners = await InetAddress("", 0, 0).listen(asyncio.get_running_loop())
    names = [listener.getsockname()[:2] for listener in listeners]
    for listener in listeners:
        listener.close()

    assert {host for host, _ in names} <= {"127.0.0.1", "::1"}
    assert len({port for _, port in names}) == 1


@pytest.mark.parametrize("problem", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
async def test_listen_family_that_the_host_has_not_is_left_out(monkeypatch: pytest.MonkeyPatch, problem: int) -> None:
    listen_one = address_module._listen_one

    def refuse(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(problem, os.strerror(problem))
        return listen_one(family, address)

    monkeypatch.setattr(address_module, "_listen_one", refuse)
    (listener,) = await InetAddress("", 0, 0).listen(asyncio.get_running_loop())
    name = listener.getsockname()
    listener.close()

    assert name[0] == "127.0.0.1"


async def test_listen_no_family_at_all_is_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(family: socket.AddressFamily, address: tuple[Any, ...]) -> socket.socket:
        raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))

    monkeypatch.setattr(address_module, "_listen_one", refuse)
    with pytest.raises(OSError, match="Cannot assign requested address"):
        await InetAddress("", 0, 0).listen(asyncio.get_running_loop())
