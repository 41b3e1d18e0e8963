# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses of sockets."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.net.sockets import address as addresses
from asyncemu.net.sockets.address import AddressOptions, Descriptor, Unix, parse_host_port
from asyncemu.socket_address import Inet


@given(st.text(max_size=30))
def test_host_port_any_text_is_an_address_or_an_error(text: str) -> None:
    try:
        address = parse_host_port(text)
    except ValueError:
        return
    assert parse_host_port(f"{address.host}:{address.port}") == address
    assert 0 <= address.port <= 65535


@pytest.mark.parametrize(
    ("options", "address", "text"),
    [
        ({"type": "inet", "host": "h", "port": 1}, Inet("h", 1, 1), "h:1"),
        ({"type": "inet", "port": 1, "to": 5}, Inet("", 1, 5), ":1"),
        ({"type": "inet", "host": "::1", "port": 1, "ipv6": True}, Inet("::1", 1, 1, socket.AF_INET6), "[::1]:1"),
        ({"type": "inet", "port": 1, "ipv4": True}, Inet("", 1, 1, socket.AF_INET), ":1"),
        ({"type": "inet", "port": 1, "ipv4": True, "ipv6": True}, Inet("", 1, 1), ":1"),
        ({"type": "unix", "path": "/a"}, Unix(Path("/a")), "unix:/a"),
        ({"type": "fd", "str": 7}, Descriptor(7), "fd:7"),
    ],
)
def test_options_say_an_address(options: dict[str, Any], address: addresses.Address, text: str) -> None:
    found = AddressOptions.model_validate(options).address()

    assert (found, str(found)) == (address, text)


async def test_listen_everywhere_is_one_port_for_both_families() -> None:
    listeners = await addresses.listen(Inet("", 0), "net0")

    names = [listener.getsockname() for listener in listeners]
    for listener in listeners:
        listener.close()
    assert {name[0] for name in names} == {"0.0.0.0", "::"}
    assert len({name[1] for name in names}) == 1


async def test_connect_tries_all_addresses_of_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        async def both(*_: object, **__: object) -> list[tuple[socket.AddressFamily, Any]]:
            return [(socket.AF_INET6, ("::1", port)), (socket.AF_INET, ("127.0.0.1", port))]

        monkeypatch.setattr(addresses, "resolve", both)
        with await addresses.connect(Inet("two", port), "net0") as connection:
            assert connection.getpeername() == ("127.0.0.1", port)


async def test_living_server_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "wire"
    first = await addresses.listen(Unix(path), "net0")

    with pytest.raises(OSError, match="Address already in use"):
        await addresses.listen(Unix(path), "net0")

    with first[0], socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
