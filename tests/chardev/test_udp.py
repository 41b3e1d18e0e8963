# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.udp import MAX_DATAGRAM, Udp
from asyncemu.errors import ChardevError, ConfigError
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Recorder, readable


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        yield peer


async def opened(make_chardev: MakeChardev, recorder: Recorder, peer: socket.socket, **keys: object) -> Udp:
    chardev: Udp = make_chardev("udp", host="127.0.0.1", port=peer.getsockname()[1], **keys)
    chardev.attach(recorder)
    await chardev.open()
    return chardev


def own(chardev: Udp) -> tuple[str, int]:
    host, _, port = chardev.address.rpartition(":")
    return host, int(port)


async def test_udp_exchanges_datagrams(make_chardev: MakeChardev, peer: socket.socket) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder, peer)

    chardev.write(b"out")
    await readable(peer.fileno())
    data, sender = peer.recvfrom(100)
    peer.sendto(b"in", sender)
    await recorder.until_received(b"in")

    assert data == b"out"
    assert sender == own(chardev)
    assert recorder.events == [ChardevEvent.OPENED]


async def test_udp_each_write_is_a_datagram(make_chardev: MakeChardev, peer: socket.socket) -> None:
    chardev = await opened(make_chardev, Recorder(), peer)

    chardev.write(b"one")
    chardev.write(b"two")
    await readable(peer.fileno())

    assert [peer.recv(100), peer.recv(100)] == [b"one", b"two"]


async def test_udp_write_longer_than_a_datagram_is_cut(make_chardev: MakeChardev, peer: socket.socket) -> None:
    chardev = await opened(make_chardev, Recorder(), peer)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)

    taken = chardev.write(bytes(MAX_DATAGRAM + 10))
    await readable(peer.fileno())

    assert taken == MAX_DATAGRAM + 10
    assert [len(peer.recv(1 << 17)), len(peer.recv(1 << 17))] == [MAX_DATAGRAM, 10]


async def test_udp_datagram_larger_than_the_room_is_kept(make_chardev: MakeChardev, peer: socket.socket) -> None:
    recorder = Recorder(limit=3)
    chardev = await opened(make_chardev, recorder, peer)

    peer.sendto(b"abcdef", own(chardev))
    peer.sendto(b"ghi", own(chardev))
    await recorder.until_received(b"abc")
    recorder.limit = 100
    chardev.accept_input()

    await recorder.until_received(b"abcdefghi")


async def test_udp_somebody_else_is_not_heard(make_chardev: MakeChardev, peer: socket.socket) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder, peer)

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(b"stranger", own(chardev))
    peer.sendto(b"peer", own(chardev))

    await recorder.until_received(b"peer")


async def test_udp_nobody_there_loses_output(make_chardev: MakeChardev, peer: socket.socket) -> None:
    chardev = await opened(make_chardev, Recorder(), peer)
    peer.close()

    # The first one is answered by ICMP, which the second one's send tells of.
    assert [chardev.write(b"x"), chardev.write(b"y"), chardev.unsent] == [1, 1, 0]


async def test_udp_peer_gone_and_back_is_heard(make_chardev: MakeChardev, peer: socket.socket) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder, peer)
    address = peer.getsockname()
    peer.close()
    chardev.write(b"x")

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(address)
        again.sendto(b"back", own(chardev))
        await recorder.until_received(b"back")


async def test_udp_localport_alone_is_for_this_host_when_the_peer_is(
    make_chardev: MakeChardev, peer: socket.socket
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    chardev = await opened(make_chardev, Recorder(), peer, localport=port)

    assert own(chardev) == ("127.0.0.1", port)


async def test_udp_localaddr_is_the_senders(make_chardev: MakeChardev, peer: socket.socket) -> None:
    chardev = await opened(make_chardev, Recorder(), peer, localaddr="127.0.0.2")

    chardev.write(b"x")
    await readable(peer.fileno())

    assert peer.recvfrom(10)[1][0] == "127.0.0.2"


async def test_udp_localport_taken_is_one_line(make_chardev: MakeChardev, peer: socket.socket) -> None:
    port = peer.getsockname()[1]
    chardev = make_chardev("udp", host="127.0.0.1", port=port, localport=port)
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(ChardevError) as caught:
        await chardev.open()

    assert str(caught.value) == f"console: talk to 127.0.0.1:{port}: Address already in use"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_udp_unknown_host_is_one_line(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("udp", host="999.999.999.999.invalid", port=1)

    with pytest.raises(ConfigError, match=r"^chardev 'console': host '999.999.999.999.invalid': \w.*$"):
        await chardev.open()


async def test_udp_both_families_is_one_line(make_chardev: MakeChardev) -> None:
    with pytest.raises(ConfigError) as caught:
        make_chardev("udp", port=9, ipv4=True, ipv6=True)

    assert str(caught.value) == "chardev[0]: ipv4 and ipv6 exclude each other"
