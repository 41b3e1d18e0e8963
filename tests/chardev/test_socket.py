# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev import listener as listener_module
from asyncemu.chardev.chardev import WRITE_BUFFER
from asyncemu.chardev.socket import Socket
from asyncemu.errors import ChardevError, ConfigError
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import GUARD, Messages, Recorder, read_exactly, readable


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A name that fits sun_path, which tmp_path may not."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory) / "s"


def client_of(chardev: Socket) -> socket.socket:
    """A connection to a server chardev."""
    assert chardev.address.startswith("127.0.0.1:")
    port = int(chardev.address.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port))


def unix_client(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    return client


async def server(make_chardev: MakeChardev, recorder: Recorder, **keys: object) -> Socket:
    chardev: Socket = make_chardev("socket", server=True, wait=False, **keys)
    chardev.attach(recorder)
    await chardev.open()
    return chardev


async def tcp_server(make_chardev: MakeChardev, recorder: Recorder, **keys: object) -> Socket:
    return await server(make_chardev, recorder, host="127.0.0.1", port=0, **keys)


async def unix_server(make_chardev: MakeChardev, recorder: Recorder, path: Path) -> Socket:
    return await server(make_chardev, recorder, path=str(path))


# ---- server


async def test_server_tcp_client_exchanges_bytes(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await tcp_server(make_chardev, recorder, nodelay=True)

    with client_of(chardev) as client:
        client.sendall(b"to the guest")
        await recorder.until_received(b"to the guest")
        chardev.write(b"from the guest")
        received = await read_exactly(client.fileno(), 14)

    assert received == b"from the guest"


async def test_server_wait_starts_when_client_is_there(make_chardev: MakeChardev, short_path: Path) -> None:
    chardev, recorder = make_chardev("socket", path=str(short_path), server=True), Recorder()
    chardev.attach(recorder)
    opening = asyncio.ensure_future(chardev.open())
    await asyncio.sleep(0)
    waited = not opening.done() and short_path.exists()

    with unix_client(short_path):
        async with asyncio.timeout(GUARD):
            await opening

    assert waited
    assert recorder.events[0] is ChardevEvent.OPENED


async def test_server_wait_cancelled_gives_back(make_chardev: MakeChardev, short_path: Path) -> None:
    chardev = make_chardev("socket", path=str(short_path), server=True)
    opening = asyncio.ensure_future(chardev.open())
    await asyncio.sleep(0)

    opening.cancel()
    await asyncio.wait([opening])

    assert not short_path.exists()


async def test_server_second_client_is_served_after_first(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await tcp_server(make_chardev, recorder)

    with client_of(chardev) as first:
        await recorder.until_event(ChardevEvent.OPENED)
        with client_of(chardev) as second:
            second.sendall(b"second")
            first.sendall(b"first ")
            await recorder.until_received(b"first ")
            first.close()
            await recorder.until_received(b"first second")

    assert recorder.events[:3] == [ChardevEvent.OPENED, ChardevEvent.CLOSED, ChardevEvent.OPENED]


async def test_server_client_leaves_is_told_closed(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await tcp_server(make_chardev, recorder)

    with client_of(chardev):
        await recorder.until_event(ChardevEvent.OPENED)

    await recorder.until_event(ChardevEvent.CLOSED)
    assert not chardev.opened


async def test_server_client_leaves_unread_front_end_is_told_closed(make_chardev: MakeChardev) -> None:
    recorder = Recorder(limit=0)
    chardev = await tcp_server(make_chardev, recorder)

    with client_of(chardev):
        await recorder.until_event(ChardevEvent.OPENED)

    await recorder.until_event(ChardevEvent.CLOSED)


async def test_server_client_leaves_what_it_sent_is_read_first(make_chardev: MakeChardev) -> None:
    recorder = Recorder(limit=0)
    chardev = await tcp_server(make_chardev, recorder)
    with client_of(chardev) as client:
        await recorder.until_event(ChardevEvent.OPENED)
        client.sendall(b"farewell")

    recorder.limit = 100
    chardev.accept_input()
    await recorder.until_event(ChardevEvent.CLOSED)

    assert recorder.received == b"farewell"


async def test_server_nobody_connected_discards(make_chardev: MakeChardev) -> None:
    chardev = await tcp_server(make_chardev, Recorder())

    assert (chardev.write(b"x" * 1_000_000), chardev.unsent) == (1_000_000, 0)


async def test_server_slow_client_bounds_buffer_and_loses_nothing(make_chardev: MakeChardev, short_path: Path) -> None:
    recorder = Recorder()
    chardev = await unix_server(make_chardev, recorder, short_path)
    sent = os.urandom(1 << 20)  # more than a unix socket's buffer holds

    with unix_client(short_path) as client:
        await recorder.until_event(ChardevEvent.OPENED)
        taken = chardev.write(sent)
        held = chardev.unsent
        received = await read_exactly(client.fileno(), taken)

    assert taken < len(sent)
    assert 0 < held <= WRITE_BUFFER
    assert received == sent[:taken]


async def test_server_slow_client_leaves_buffer_is_dropped(make_chardev: MakeChardev, short_path: Path) -> None:
    recorder = Recorder()
    chardev = await unix_server(make_chardev, recorder, short_path)
    with unix_client(short_path):
        await recorder.until_event(ChardevEvent.OPENED)
        chardev.write(bytes(1 << 20))

    await recorder.until_event(ChardevEvent.CLOSED)

    assert chardev.unsent == 0
    assert recorder.writable_calls == 1


async def test_server_slow_front_end_is_not_read(make_chardev: MakeChardev) -> None:
    recorder = Recorder(limit=3)
    chardev = await tcp_server(make_chardev, recorder)

    with client_of(chardev) as client:
        client.sendall(b"abcdef")
        await recorder.until_received(b"abc")
        recorder.limit = 6
        chardev.accept_input()
        await recorder.until_received(b"abcdef")


async def test_server_front_end_shut_meanwhile_gets_input_later(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await tcp_server(make_chardev, recorder)

    with client_of(chardev) as client:
        await recorder.until_event(ChardevEvent.OPENED)
        recorder.limit = 0
        client.sendall(b"x")
        for _ in range(3):  # rounds of the loop, in which it must not be read
            await asyncio.sleep(0)
        recorder.limit = 1
        chardev.accept_input()
        await recorder.until_received(b"x")


async def test_server_mux_obeys_ctrl_a(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await tcp_server(make_chardev, recorder, mux=True)

    with client_of(chardev) as client:
        client.sendall(b"a\x01bz")
        await recorder.until_received(b"az")

    assert ChardevEvent.BREAK in recorder.events


async def test_server_port_in_use_is_one_line(make_chardev: MakeChardev) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        chardev = make_chardev("socket", host="127.0.0.1", port=port, server=True, wait=False)

        with pytest.raises(ChardevError) as caught:
            await chardev.open()

    assert str(caught.value) == f"console: listen at 127.0.0.1:{port}: Address already in use"


async def test_server_to_takes_next_free_port(make_chardev: MakeChardev) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = other.getsockname()[1]
        keys = {"host": "127.0.0.1", "port": port, "to": min(port + 50, 65535)}
        chardev = make_chardev("socket", server=True, wait=False, **keys)

        await chardev.open()

    assert int(chardev.address.rpartition(":")[2]) > port


async def test_server_without_host_listens_for_this_host_alone(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("socket", port=0, server=True, wait=False, ipv4=True)

    await chardev.open()

    assert chardev.address.startswith("127.0.0.1:")


async def test_server_wildcard_host_listens_at_all_addresses(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("socket", host="0.0.0.0", port=0, server=True, wait=False)

    await chardev.open()

    assert chardev.address.startswith("0.0.0.0:")


async def test_server_unix_close_removes_socket_file(make_chardev: MakeChardev, short_path: Path) -> None:
    chardev = make_chardev("socket", path=str(short_path), server=True, wait=False)
    await chardev.open()
    made = stat.S_ISSOCK(short_path.stat().st_mode)

    await chardev.close()

    assert made
    assert not short_path.exists()


async def test_server_unix_close_leaves_foreign_file(make_chardev: MakeChardev, short_path: Path) -> None:
    chardev = make_chardev("socket", path=str(short_path), server=True, wait=False)
    await chardev.open()
    short_path.unlink()
    short_path.write_text("somebody else's")

    await chardev.close()

    assert short_path.read_text() == "somebody else's"


async def test_server_unix_stale_file_is_replaced(make_chardev: MakeChardev, short_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short_path))
    chardev, recorder = make_chardev("socket", path=str(short_path), server=True, wait=False), Recorder()
    chardev.attach(recorder)

    await chardev.open()

    with unix_client(short_path):
        await recorder.until_event(ChardevEvent.OPENED)


async def test_server_unix_living_server_is_left_alone(make_chardev: MakeChardev, short_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(short_path))
        living.listen()
        living.setblocking(False)
        chardev = make_chardev("socket", path=str(short_path), server=True, wait=False)

        with pytest.raises(ChardevError) as caught:
            await chardev.open()
        with pytest.raises(BlockingIOError):
            living.accept()

    assert str(caught.value) == f"console: listen at unix:{short_path}: Address already in use"


async def test_server_unix_other_file_is_left_alone(make_chardev: MakeChardev, short_path: Path) -> None:
    short_path.write_text("precious")
    chardev = make_chardev("socket", path=str(short_path), server=True, wait=False)

    with pytest.raises(ChardevError, match="Address already in use"):
        await chardev.open()

    assert short_path.read_text() == "precious"


async def test_server_unix_directory_missing_is_one_line(make_chardev: MakeChardev, short_path: Path) -> None:
    path = short_path / "no" / "s"
    chardev = make_chardev("socket", path=str(path), server=True, wait=False)

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == f"console: listen at unix:{path}: No such file or directory"


async def test_server_unix_long_path_is_one_line(make_chardev: MakeChardev) -> None:
    path = "/tmp/" + "x" * 200
    chardev = make_chardev("socket", path=path, server=True, wait=False)

    with pytest.raises(ConfigError) as caught:
        await chardev.open()

    assert str(caught.value) == f"chardev 'console': listen at unix:{path}: AF_UNIX path too long"


async def test_server_out_of_descriptors_serves_client_later(
    make_chardev: MakeChardev, monkeypatch: pytest.MonkeyPatch, messages: Messages
) -> None:
    monkeypatch.setattr(listener_module, "ACCEPT_PAUSE", 0.001)
    recorder = Recorder()
    chardev = await tcp_server(make_chardev, recorder)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    with client_of(chardev):
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
        try:
            message = await messages.until_first()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await recorder.until_event(ChardevEvent.OPENED)

    assert message == f"console: accept a client at {chardev.address}: Too many open files"


async def test_server_out_of_descriptors_behind_accept_serves_the_next_client(
    make_chardev: MakeChardev, monkeypatch: pytest.MonkeyPatch, messages: Messages
) -> None:
    monkeypatch.setattr(listener_module, "ACCEPT_PAUSE", 0.001)
    recorder = Recorder()
    chardev = await tcp_server(make_chardev, recorder)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    with client_of(chardev) as first:
        lowest_free = os.dup(0)
        os.close(lowest_free)
        # For the connection, and not for what watches it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + 1, limits[1]))
        try:
            message = await messages.until_first()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        await readable(first.fileno())
        left = first.recv(1)
    with client_of(chardev):
        await recorder.until_event(ChardevEvent.OPENED)

    assert message == f"console: accept a client at {chardev.address}: Too many open files"
    assert left == b""


# ---- client


async def test_client_tcp_exchanges_bytes(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        chardev = make_chardev("socket", host="127.0.0.1", port=server.getsockname()[1])
        chardev.attach(recorder)
        await chardev.open()
        connection, _ = server.accept()

    with connection:
        connection.sendall(b"in")
        await recorder.until_received(b"in")
        chardev.write(b"out")
        received = await read_exactly(connection.fileno(), 3)

    assert received == b"out"


async def test_client_tcp_refused_is_one_line(make_chardev: MakeChardev) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
    chardev = make_chardev("socket", host="127.0.0.1", port=port)

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == f"console: connect to 127.0.0.1:{port}: Connection refused"


async def test_client_unknown_host_is_one_line(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("socket", host="999.999.999.999.invalid", port=1)

    with pytest.raises(ConfigError, match=r"^chardev 'console': host '999.999.999.999.invalid': \w.*$"):
        await chardev.open()


async def test_client_unix_missing_is_one_line(make_chardev: MakeChardev, short_path: Path) -> None:
    chardev = make_chardev("socket", path=str(short_path))

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == f"console: connect to unix:{short_path}: No such file or directory"


async def test_client_reconnect_waits_for_server_and_says_so_once(
    make_chardev: MakeChardev, short_path: Path, messages: Messages
) -> None:
    chardev, recorder = make_chardev("socket", path=str(short_path), reconnect=0.001), Recorder()
    chardev.attach(recorder)
    await chardev.open()
    message = await messages.until_first()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short_path))
        server.listen()
        await recorder.until_event(ChardevEvent.OPENED)
        await chardev.close()

    assert message == f"console: connect to unix:{short_path}; it is tried again: No such file or directory"
    assert messages.texts == [message]


async def test_client_reconnect_comes_back_after_server_left(make_chardev: MakeChardev, short_path: Path) -> None:
    recorder = Recorder()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(short_path))
        server.listen()
        chardev = make_chardev("socket", path=str(short_path), reconnect=0.001)
        chardev.attach(recorder)
        await chardev.open()
        await recorder.until_event(ChardevEvent.OPENED)

        server.accept()[0].close()
        await readable(server.fileno())
        connection, _ = server.accept()
        with connection:
            await recorder.until_event(ChardevEvent.OPENED, 2)

    assert recorder.events[:3] == [ChardevEvent.OPENED, ChardevEvent.CLOSED, ChardevEvent.OPENED]


# ---- other ways to a socket


async def test_server_unix_file_is_for_its_owner_alone(make_chardev: MakeChardev, short_path: Path) -> None:
    chardev = make_chardev("socket", path=str(short_path), server=True, wait=False)
    before = os.umask(0)
    try:
        await chardev.open()
    finally:
        os.umask(before)

    assert stat.S_IMODE(short_path.stat().st_mode) == 0o600


@pytest.mark.parametrize("tight", [True, False])
async def test_server_abstract_name_client_is_served(make_chardev: MakeChardev, tight: bool) -> None:
    name = f"asyncemu-{os.getpid()}-{tight}"
    recorder = Recorder()
    await server(make_chardev, recorder, abstract=name, tight=tight)
    raw = b"\0" + name.encode()

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(raw if tight else raw.ljust(108, b"\0"))
        client.sendall(b"x")
        await recorder.until_received(b"x")


async def test_server_abstract_name_too_long_is_one_line(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("socket", abstract="x" * 108, server=True, wait=False)

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == f"console: listen at unix:@{'x' * 108}: File name too long"


async def test_server_fd_that_listens_serves_its_clients(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        await server(make_chardev, recorder, fd=listener.fileno())

        with socket.create_connection(listener.getsockname()) as client:
            client.sendall(b"x")
            await recorder.until_received(b"x")


async def test_client_fd_that_is_connected_is_used(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        chardev = make_chardev("socket", fd=ours.fileno())
        chardev.attach(recorder)
        await chardev.open()
        chardev.write(b"x")

        assert await read_exactly(theirs.fileno(), 1) == b"x"


async def test_client_fd_that_stays_open_elsewhere_peer_sees_the_end(make_chardev: MakeChardev) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        chardev = make_chardev("socket", fd=ours.fileno())
        await chardev.open()

        await chardev.close()

        theirs.settimeout(GUARD)
        assert theirs.recv(1) == b""


async def test_fd_of_the_wrong_kind_is_one_line(make_chardev: MakeChardev) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        chardev = make_chardev("socket", fd=ours.fileno(), server=True, wait=False)

        with pytest.raises(ConfigError) as caught:
            await chardev.open()

        problem = f"fd {ours.fileno()} is not a stream socket that listens"
    assert str(caught.value) == f"chardev 'console': {problem}"


async def test_fd_that_is_not_open_is_one_line(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("socket", fd=1000)

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == "console: connect to fd:1000: Bad file descriptor"


# ---- the monitor's view, as that of QEMU 7.2


async def test_filename_server_names_itself_and_its_peer(make_chardev: MakeChardev) -> None:
    recorder = Recorder()
    chardev = await tcp_server(make_chardev, recorder)
    before = chardev.filename

    with client_of(chardev) as client:
        await recorder.until_event(ChardevEvent.OPENED)
        peer = client.getsockname()
        during = chardev.filename

    assert before == f"disconnected:tcp:{chardev.address},server=on"
    assert during == f"tcp:{chardev.address},server=on <-> 127.0.0.1:{peer[1]}"


async def test_filename_unix_sockets(make_chardev: MakeChardev, short_path: Path) -> None:
    with_file = make_chardev("socket", path=str(short_path), server=True, wait=False)
    without = make_chardev("socket", abstract=f"asyncemu-{os.getpid()}", server=True, wait=False)
    await with_file.open()
    await without.open()

    assert with_file.filename == f"disconnected:unix:{short_path},server=on"
    assert without.filename == f"disconnected:unix:asyncemu-{os.getpid()},abstract=on,tight=on,server=on"


async def test_yank_ends_the_connection(make_chardev: MakeChardev, short_path: Path) -> None:
    recorder = Recorder(limit=0)
    chardev = await unix_server(make_chardev, recorder, short_path)
    with unix_client(short_path) as client:
        await recorder.until_event(ChardevEvent.OPENED)
        chardev.write(bytes(1 << 20))  # it hangs

        chardev.yank()

        await recorder.until_event(ChardevEvent.CLOSED)
        client.settimeout(GUARD)
        while client.recv(1 << 16):
            pass


# ---- options


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({}, "needs one of path or abstract (unix socket), port (TCP) and fd"),
        ({"path": "s", "port": 1, "host": "h"}, "needs one of path or abstract (unix socket), port (TCP) and fd"),
        ({"abstract": "s", "ipv4": True}, "host, to, ipv4, ipv6 and nodelay are for TCP"),
        ({"abstract": "\ud800"}, "abstract has a character that no name has"),
        ({"fd": 3, "reconnect": 1}, "reconnect is not for a socket that is given by its descriptor"),
        (
            {"path": "s", "server": True, "telnet": True, "websocket": True},
            "telnet and websocket are two protocols, choose one",
        ),
        ({"path": "s", "websocket": True}, "telnet and websocket are for a server, not without server = true"),
        ({"path": "s", "server": True, "token": "t"}, "token is for websocket = true"),
        ({"path": "s", "server": True, "websocket": True, "token": "ü"}, "token is not ASCII"),
        ({"path": "s", "tls_creds": "x"}, "tls-creds is for TCP"),
        ({"path": "s", "nodelay": True}, "host, to, ipv4, ipv6 and nodelay are for TCP, not for a path"),
        ({"host": "h", "port": 9, "to": 8, "server": True}, "to is for a server, and not below port"),
        ({"path": "s", "server": True, "reconnect": 1}, "reconnect is for a client, not with server = true"),
        ({"path": "s", "wait": True}, "wait is for a server, not without server = true"),
        ({"port": 9}, "a client needs host"),
    ],
)
async def test_options_contradiction_is_one_line(
    make_chardev: MakeChardev, keys: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_chardev("socket", **keys)

    assert str(caught.value) == f"chardev[0]: {problem}"
