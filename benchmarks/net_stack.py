# SPDX-License-Identifier: GPL-2.0-or-later
"""The user network by itself: a client of ours on the other end of a memory link, a peer process behind its sockets.

Figures are CPU time of our process, of which there is one thread: what one core does, whatever else the host does. The
client's own TCP is in them (a guest's would be in the guest), as are the system calls.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import uvloop

from asyncemu.loop import AioContext, Clocks
from asyncemu.memory.buffers import Buffers
from asyncemu.net import Frame, connect
from asyncemu.net.user.backend import UserNetdev
from asyncemu.net.user.options import UserOptions
from asyncemu.testing.net_client import NetClient
from asyncemu.testing.net_client_tcp import Stream
from benchmarks.benchmark import Benchmark, Outcome
from benchmarks.goal import Goal
from benchmarks.net_peer import Peer
from benchmarks.rows import Row, measurements

SEGMENT: Final = 64 << 10
#: Bytes of a bulk transfer.
BULK: Final = 256 << 20
PACKETS: Final = 60_000
#: Datagrams in one go, and bytes of each.
WINDOW: Final = 64
SMALL: Final = 64
ROUND_TRIPS: Final = 5_000
CONNECTIONS: Final = 2_000

#: us of CPU for 64 KiB at 400 MB/s, and for a packet at 60,000 a second.
_BULK_GOAL: Final = SEGMENT / 400
_PACKET_GOAL: Final = 1_000_000 / 60_000

_HOST: Final = "10.0.2.2"


@dataclass(frozen=True, slots=True)
class Round:
    """us of CPU time for one of each."""

    upload: float
    download: float
    packet_out: float
    packet_in: float
    tcp_round_trip: float
    udp_round_trip: float
    connection: float


_ROWS: Final = (
    Row("TCP, guest to host, 64 KiB", "upload", goal=Goal(_BULK_GOAL, absolute=True)),
    Row("TCP, host to guest, 64 KiB", "download", goal=Goal(_BULK_GOAL, absolute=True)),
    Row("UDP, guest to host, 64 bytes", "packet_out", goal=Goal(_PACKET_GOAL, absolute=True)),
    Row("UDP, host to guest, 64 bytes", "packet_in", goal=Goal(_PACKET_GOAL, absolute=True)),
    Row("TCP round trip of a byte", "tcp_round_trip"),
    Row("UDP round trip of a byte", "udp_round_trip"),
    Row("TCP connection with a byte each way", "connection"),
)


async def _timed(work: Awaitable[object], count: int) -> float:
    begin = time.process_time()
    await work
    return (time.process_time() - begin) / count * 1e6


async def upload(client: NetClient, peer: Peer) -> None:
    """``BULK`` bytes to the peer, which says when it has them all."""
    stream = await client.connect(_HOST, peer.tcp)
    await stream.write(b"d")
    piece = bytes(SEGMENT)
    for _ in range(BULK // SEGMENT):
        await stream.write(piece)
    stream.close()
    assert await stream.read() == b"!"


async def download(client: NetClient, peer: Peer) -> None:
    """``BULK`` bytes from the peer."""
    stream = await client.connect(_HOST, peer.tcp)
    left = BULK

    def count(views: Buffers) -> None:
        nonlocal left
        left -= views.nbytes

    stream.sink = count
    await stream.write(b"s" + BULK.to_bytes(8, "big"))
    await stream.wait(lambda: not left)
    stream.close()


async def packets_out(client: NetClient, peer: Peer) -> None:
    """``PACKETS`` datagrams to a socket that nobody reads; the loop has its turn after each ``WINDOW`` of them."""
    port = client.udp()
    payload = bytes(SMALL)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink_port = sink.getsockname()[1]
        for _ in range(PACKETS // WINDOW):
            port.send(_HOST, sink_port, *[payload] * WINDOW)
            await asyncio.sleep(0)


async def packets_in(client: NetClient, peer: Peer) -> None:
    """``PACKETS`` datagrams from the peer, which sends ``WINDOW`` when it is asked."""
    port = client.udp()
    payload = bytes((WINDOW,)).ljust(SMALL, b"x")
    left = 0
    through = asyncio.Event()

    def on_frame(frame: Frame) -> None:
        nonlocal left
        left -= 1
        if not left:
            through.set()

    port.sink = on_frame
    for _ in range(PACKETS // WINDOW):
        left = WINDOW
        through.clear()
        port.send(_HOST, peer.udp, payload)
        await through.wait()


async def tcp_round_trips(client: NetClient, peer: Peer) -> None:
    """A byte there and back, one after the other."""
    stream = await client.connect(_HOST, peer.tcp)
    await stream.write(b"e")
    for _ in range(ROUND_TRIPS):
        await stream.write(b"x")
        await stream.read(1)
    stream.close()
    await stream.read()


async def udp_round_trips(client: NetClient, peer: Peer) -> None:
    """A byte there and back, one after the other."""
    port = client.udp()
    for _ in range(ROUND_TRIPS):
        port.send(_HOST, peer.udp, b"\1")
        await port.receive()


async def connections(client: NetClient, peer: Peer) -> None:
    """Connections one after the other: open, a byte each way, close."""
    for _ in range(CONNECTIONS):
        stream: Stream = await client.connect(_HOST, peer.tcp)
        await stream.write(b"ex")
        await stream.read(1)
        stream.close()
        await stream.read()


_WORK: Final[tuple[tuple[Callable[[NetClient, Peer], Awaitable[None]], int], ...]] = (
    (upload, BULK // SEGMENT),
    (download, BULK // SEGMENT),
    (packets_out, PACKETS),
    (packets_in, PACKETS),
    (tcp_round_trips, ROUND_TRIPS),
    (udp_round_trips, ROUND_TRIPS),
    (connections, CONNECTIONS),
)


async def _round(peer: Peer) -> Round:
    context = AioContext(asyncio.get_running_loop(), "net")
    clocks = Clocks()
    clocks.run_virtual(True)
    netdev = UserNetdev(UserOptions(), "net0", context, clocks)
    client = NetClient(context, clocks.virtual)
    connect(client, netdev)
    await netdev.open()
    await client.dhcp()
    try:
        return Round(*[await _timed(work(client, peer), count) for work, count in _WORK])
    finally:
        await netdev.close()
        context.close()


def _run(runs: int, note: Callable[[str], None]) -> Outcome:
    rounds = []
    with Peer() as peer:
        for number in range(1, runs + 1):
            rounds.append(uvloop.run(_round(peer)))
            megabytes = [SEGMENT / each for each in (rounds[-1].upload, rounds[-1].download)]
            note(f"run {number}: {megabytes[0]:.0f} MB/s up, {megabytes[1]:.0f} MB/s down")
    return Outcome("none: the stack by itself", tuple(measurements(rounds, _ROWS)))


BENCHMARK: Final = Benchmark("net_stack", "the user network by itself, on one core", _run)
