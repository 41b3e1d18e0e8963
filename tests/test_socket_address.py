# SPDX-License-Identifier: GPL-2.0-or-later
"""Stream sockets of the host by address."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest

from asyncemu import socket_address
from asyncemu.socket_address import MAX_NAME, Inet, UnknownHost


def taken_port(sock: socket.socket) -> int:
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    port: int = sock.getsockname()[1]
    return port


async def test_listen_without_a_host_is_loopback_or_all() -> None:
    for flags, expected in ((0, {"127.0.0.1", "::1"}), (socket.AI_PASSIVE, {"0.0.0.0", "::"})):
        listeners = await socket_address.listen(Inet("", 0), flags)
        hosts = {listener.getsockname()[0] for listener in listeners}
        ports = {listener.getsockname()[1] for listener in listeners}
        for listener in listeners:
            listener.close()

        assert hosts <= expected
        assert len(ports) == 1


async def test_listen_goes_on_to_the_last_port() -> None:
    with socket.socket() as other:
        port = taken_port(other)

        (listener,) = await socket_address.listen(Inet("127.0.0.1", port, min(port + 50, 65535)))

        with listener:
            assert port < listener.getsockname()[1] <= port + 50


async def test_listen_where_somebody_listens_is_an_error() -> None:
    with socket.socket() as other:
        port = taken_port(other)

        with pytest.raises(OSError, match="in use") as caught:
            await socket_address.listen(Inet("127.0.0.1", port))
        assert caught.value.errno == errno.EADDRINUSE


async def test_connect_takes_the_first_that_answers() -> None:
    with socket.socket() as other, socket.socket() as silent:
        port = taken_port(other)
        silent.bind(("127.0.0.1", 0))
        nobody = silent.getsockname()[1]

        connected = await socket_address.connect(
            [(socket.AF_INET, ("127.0.0.1", nobody)), (socket.AF_INET, ("127.0.0.1", port))]
        )

        with connected:
            assert connected.getpeername() == ("127.0.0.1", port)


async def test_connect_to_nobody_is_the_error_of_the_last_one() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))

        with pytest.raises(ConnectionRefusedError):
            await socket_address.connect([(socket.AF_INET, silent.getsockname())])
    with pytest.raises(OSError, match="Cannot assign"):
        await socket_address.connect([])


async def test_host_that_is_none_is_an_error_of_its_own() -> None:
    with pytest.raises(UnknownHost, match=r"^host 'no\.such\.host\.invalid': "):
        await socket_address.resolve(Inet("no.such.host.invalid", 1), socket.SOCK_STREAM)
    with pytest.raises(UnknownHost, match=r": Name or service not known$"):
        await socket_address.resolve(Inet("a" * 70, 1), socket.SOCK_STREAM)


def test_socket_name_that_is_too_long_has_an_errno() -> None:
    assert socket_address.socket_name(Path("/" + "a" * (MAX_NAME - 1))) == "/" + "a" * (MAX_NAME - 1)
    with pytest.raises(OSError, match="too long"):
        socket_address.socket_name(Path("/" + "a" * MAX_NAME))


def test_remove_stale_leaves_all_but_the_file_of_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with socket.socket(socket.AF_UNIX) as living, socket.socket(socket.AF_UNIX) as dead:
        living.bind(str(tmp_path / "living"))
        living.listen()
        dead.bind(str(tmp_path / "dead"))
        dead.close()

        for name in ("file", "living", "dead", "none"):
            socket_address.remove_stale(tmp_path / name)

        assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "living"]
