# SPDX-License-Identifier: GPL-2.0-or-later
"""The netdev dgram."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from asyncemu import own_sockets
from asyncemu.errors import ConfigError, NetError
from asyncemu.loop import AioContext
from asyncemu.net.dgram import Dgram, DgramOptions
from asyncemu.net.frame import GSO_TCPV4, NEEDS_CHECKSUM, Frame, VnetHeader
from asyncemu.net.sockets.datagram_socket import DatagramSocket
from asyncemu.socket_address import Inet
from asyncemu.testing import until
from asyncemu.testing.memory_wire import Wire
from tests.net.frames import is_whole, numbered, payload_of, unfinished
from tests.net.peers import opened

Open = Callable[..., Awaitable[Wire]]


def inet(port: int, host: str = "127.0.0.1") -> dict[str, Any]:
    return {"type": "inet", "host": host, "port": port}


def unix(path: Path) -> dict[str, Any]:
    return {"type": "unix", "path": str(path)}


def netdev_of(wire: Wire) -> Dgram:
    assert isinstance(wire.peer, Dgram)
    return wire.peer


def link_of(wire: Wire) -> DatagramSocket:
    link = netdev_of(wire).end.link
    assert link is not None
    return link


@pytest.fixture
async def open_dgram(context: AioContext) -> AsyncIterator[Open]:
    """Opens netdevs, and closes them at the end."""
    wires: list[Wire] = []

    async def open(**options: Any) -> Wire:
        wires.append(await opened(Dgram, context, f"net{len(wires)}", **options))
        return wires[-1]

    yield open
    for wire in wires:
        await netdev_of(wire).close()


@pytest.mark.both_loops
async def test_frames_are_udp_datagrams(open_dgram: Open) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(10)
        wire = await open_dgram(local=inet(0), remote=inet(peer.getsockname()[1]))
        local = netdev_of(wire).end.local
        assert isinstance(local, Inet)

        wire.feed(b"a" * 60, b"b" * 61)
        peer.sendto(b"c" * 9000, ("127.0.0.1", local.port))
        peer.sendto(b"d" * 60, ("127.0.0.1", local.port))

        assert [peer.recv(100), peer.recv(100)] == [b"a" * 60, b"b" * 61]
        await until(lambda: wire.frames == [b"c" * 9000, b"d" * 60])


async def test_ipv6_is_a_wire(open_dgram: Open) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as peer:
        peer.bind(("::1", 0))
        peer.settimeout(10)
        wire = await open_dgram(local=inet(0, "::1"), remote=inet(peer.getsockname()[1], "::1"))

        wire.feed(b"a" * 60)

        assert peer.recv(100) == b"a" * 60


async def test_two_of_ours_share_unix_datagrams_and_their_files_go(open_dgram: Open, tmp_path: Path) -> None:
    one = await open_dgram(local=unix(tmp_path / "1"), remote=unix(tmp_path / "2"))
    other = await open_dgram(local=unix(tmp_path / "2"), remote=unix(tmp_path / "1"))
    frames = list(map(numbered, range(200)))

    one.feed(*frames)

    await until(lambda: len(other.received) == 200)
    assert other.frames == frames
    await netdev_of(one).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2"]


async def test_unix_socket_is_for_its_owner_only(open_dgram: Open, tmp_path: Path) -> None:
    await open_dgram(local=unix(tmp_path / "1"), remote=unix(tmp_path / "2"))

    assert (tmp_path / "1").stat().st_mode & 0o777 == 0o600


async def test_descriptor_is_a_wire(open_dgram: Open) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        wire = await open_dgram(local={"type": "fd", "str": ours.fileno()})

        wire.feed(b"a" * 60)
        theirs.send(b"b" * 60)

        assert theirs.recv(100) == b"a" * 60
        await until(lambda: wire.frames == [b"b" * 60])


async def test_group_members_hear_each_other(open_dgram: Open) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"local": inet(0), "remote": inet(port, "230.0.0.1")}
    wires = [await open_dgram(**group) for _ in range(3)]

    wires[0].feed(b"a" * 60)

    # As in QEMU, also those who have said it.
    await until(lambda: all(wire.frames == [b"a" * 60] for wire in wires))


async def test_peer_that_is_not_there_loses_frames(open_dgram: Open, tmp_path: Path) -> None:
    wire = await open_dgram(local=unix(tmp_path / "1"), remote=unix(tmp_path / "2"))

    wire.feed(b"a" * 60, b"b" * 60)

    assert not wire.unsent
    assert link_of(wire).refused == 2


async def test_peer_that_refuses_is_tried_again(open_dgram: Open) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        address = peer.getsockname()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.connect(address)
        wire = await open_dgram(local={"type": "fd", "str": ours.fileno()})

        wire.feed(b"a" * 60)
        await until(lambda: link_of(wire).refused > 0)

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(address)
            peer.settimeout(10)
            wire.feed(b"b" * 60)
            assert peer.recv(100) == b"b" * 60


async def test_full_guest_leaves_datagrams_in_the_socket(open_dgram: Open) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        wire = await open_dgram(local={"type": "fd", "str": ours.fileno()})
        wire.room = 1
        frames = list(map(numbered, range(5)))
        for frame in frames:
            theirs.send(frame)
        await until(lambda: len(wire.received) == 1)

        wire.accept()

        await until(lambda: len(wire.received) == 5)
        assert wire.frames == frames


async def test_full_socket_leaves_frames_with_the_guest(open_dgram: Open) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        wire = await open_dgram(local={"type": "fd", "str": ours.fileno()})
        theirs.setblocking(False)
        frames = list(map(numbered, range(1000)))
        wire.feed(*frames)
        waiting = len(wire.unsent)

        received = await drained(theirs, 1000)

        assert waiting > 0
        assert received == frames


async def test_large_segment_is_cut_and_sent_whole_though_the_socket_is_full(open_dgram: Open) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        wire = await open_dgram(local={"type": "fd", "str": ours.fileno()})
        theirs.setblocking(False)
        payload = bytes(range(256)) * 240
        wire.feed(*(unfinished(payload) for _ in range(30)))
        assert wire.unsent

        frames = await drained(theirs, 62 * 30)

    assert all(map(is_whole, frames))
    assert b"".join(map(payload_of, frames)) == payload * 30


async def drained(peer: socket.socket, count: int) -> list[bytes]:
    """So many datagrams."""
    received: list[bytes] = []

    def all_there() -> bool:
        while len(received) < count:
            try:
                received.append(peer.recv(2000))
            except BlockingIOError:
                return False
        return True

    await until(all_there)
    return received


async def test_what_is_no_frame_is_dropped(open_dgram: Open) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        wire = await open_dgram(local={"type": "fd", "str": ours.fileno()})

        for data in (b"", bytes(70_000), b"a" * 60):
            theirs.send(data)

        await until(lambda: wire.frames == [b"a" * 60])
        assert link_of(wire).dropped_arriving == 2


async def test_connected_socket_goes_on_behind_errors(open_dgram: Open) -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs,
    ):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("127.0.0.1", 0))
            address = probe.getsockname()
        ours.connect(address)
        wire = await open_dgram(local={"type": "fd", "str": ours.fileno()})
        for count in (1, 2):
            wire.feed(bytes(60))
            await until(lambda count=count: link_of(wire).refused == count)  # type: ignore[misc]

        theirs.bind(address)
        theirs.sendto(b"a" * 60, ours.getsockname())

        await until(lambda: wire.frames == [b"a" * 60])


async def test_header_that_does_not_fit_its_frame_is_dropped(open_dgram: Open) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        wire = await open_dgram(local={"type": "fd", "str": ours.fileno()})

        wire.feed(Frame.of(bytes(60), vnet=VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4, 0, 100, 34, 16)))

        assert link_of(wire).malformed == 1


async def test_socket_is_the_emulators_own(open_dgram: Open) -> None:
    wire = await open_dgram(local=inet(0), remote=inet(9))
    local = netdev_of(wire).end.local
    assert isinstance(local, Inet)

    assert own_sockets.is_own("127.0.0.1", local.port)


async def test_address_taken_is_an_error(open_dgram: Open) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        with pytest.raises(NetError) as caught:
            await open_dgram(local=inet(port), remote=inet(9))

    assert str(caught.value) == f"net0: bind to 127.0.0.1:{port}: Address already in use"


async def test_file_in_the_way_is_an_error(open_dgram: Open, tmp_path: Path) -> None:
    (tmp_path / "1").touch()

    with pytest.raises(NetError) as caught:
        await open_dgram(local=unix(tmp_path / "1"), remote=unix(tmp_path / "2"))

    assert str(caught.value) == f"net0: bind to unix:{tmp_path}/1: Address already in use"
    assert (tmp_path / "1").exists()


async def test_addresses_of_different_families_are_an_error(open_dgram: Open) -> None:
    with pytest.raises(ConfigError) as caught:
        await open_dgram(local={**inet(0), "ipv4": True}, remote=inet(9, "::1"))

    assert str(caught.value) == "net0: 127.0.0.1:0 and [::1]:9 are of different families"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "needs local; only with a multicast address as remote it may be left out"),
        ({"remote": inet(1)}, "needs local; only with a multicast address as remote it may be left out"),
        ({"local": inet(1)}, "local of type 'inet' needs remote"),
        ({"local": {"type": "fd", "str": 3}, "remote": inet(1)}, "remote is not for a local of type fd"),
        ({"local": inet(1), "remote": {"type": "fd", "str": 3}}, "remote is an address, not an open descriptor"),
        (
            {"local": unix(Path("/x")), "remote": inet(1)},
            "local and remote are of different types: 'unix' and 'inet'",
        ),
        (
            {"local": unix(Path("/x")), "remote": inet(1, "230.0.0.1")},
            "local is of type inet or fd where remote is a multicast address",
        ),
    ],
)
def test_options_that_contradict_each_other_are_errors(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        DgramOptions.model_validate(options)
