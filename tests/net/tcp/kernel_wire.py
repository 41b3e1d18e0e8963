# SPDX-License-Identifier: GPL-2.0-or-later
"""Our TCP against the kernel's: a TUN device in a network namespace of the test's own, with a bad wire between.

    kernel's socket -- kernel's TCP -- TUN device -- loss, reordering, duplication -- TcpConnection

The namespace is that of a thread, and ends with it. Needs root, /dev/net/tun and ``ip``.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import heapq
import os
import random
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from asyncemu.memory.buffers import Buffers
from asyncemu.net.packets import checksum, ipv4
from asyncemu.net.packets import tcp as tcp_packets
from asyncemu.net.tcp import Segment, State, TcpConnection, TcpSettings, reset_for
from asyncemu.net.tcp.segment import SYN

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
TUNSETOFFLOAD = 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 1, 2
#: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset, of this machine's byte order.
VNET = struct.Struct("=BBHHHH")

KERNEL, OURS = bytes((10, 9, 0, 1)), bytes((10, 9, 0, 2))
PORT = 8080
MS = 1_000_000
ENDED = (State.TIME_WAIT, State.CLOSED)


def in_own_network(body: Callable[[], None]) -> None:
    """Run ``body`` in a thread that has a network of its own; skip the test where that is not allowed."""
    if not Path("/dev/net/tun").exists() or shutil.which("ip") is None:
        pytest.skip("needs /dev/net/tun and ip")

    def enter() -> bool:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            return False
        body()
        return True

    with ThreadPoolExecutor(1) as threads:
        if not threads.submit(enter).result():
            pytest.skip("needs a network namespace: CAP_NET_ADMIN")


@contextmanager
def tun(offload: bool) -> Iterator[int]:
    """A TUN device with the kernel's address, as a descriptor of packets."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        flags = IFF_TUN | IFF_NO_PI | (IFF_VNET_HDR if offload else 0)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", b"wire", flags))
        if offload:
            fcntl.ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
        for command in ("link set lo up", "addr add 10.9.0.1/24 dev wire", "link set wire up mtu 1500"):
            subprocess.run(["ip", *command.split()], check=True, capture_output=True, timeout=20)
        yield fd
    finally:
        os.close(fd)


class KernelWire:
    """One connection between both, and the loop that serves it. Real time: the kernel has no other."""

    def __init__(self, fd: int, seed: int, loss: float, offload: bool, settings: TcpSettings) -> None:
        self.fd = fd
        self.dice = random.Random(seed)
        self.loss = loss
        self.offload = offload
        self.settings = settings
        self.connection: TcpConnection | None = None
        self.ports = (0, 0)
        self.got = bytearray()
        self.lost = 0
        self._order = count()
        self._wire: list[tuple[int, int, bytes, bool]] = []
        self._now = time.monotonic_ns()

    def connect(self) -> None:
        """Ours opens."""
        self.ports = (PORT, 40_000)
        self.connection = TcpConnection.connect(self.dice.randrange(1 << 32), self.settings)
        self.connection.max_segment = 60_000 if self.offload else 0

    def run(self, kernel: socket.socket, data: bytes, kernel_data: bytes, timeout: float = 60.0) -> bytes:
        """Both send all, close, and read to the end; returns what the kernel's side has got.

        ``kernel`` listens when ours has opened, else it is connecting.
        """
        end = time.monotonic() + timeout
        opened: socket.socket | None = None if self.connection is not None else kernel
        kernel_got = bytearray()
        kernel_ended = False
        sent = kernel_sent = 0
        try:
            # TIME-WAIT lasts longer than the test: a last ACK that is lost is sent again.
            while not (kernel_ended and self.connection is not None and self.connection.state in ENDED):
                assert time.monotonic() < end, "they talk forever"
                self._now = time.monotonic_ns()
                self._read_packets()
                self._deliver()
                if opened is None:
                    opened = self._accepted(kernel)
                elif not kernel_ended:
                    kernel_sent, kernel_ended = self._serve_kernel(opened, kernel_data, kernel_sent, kernel_got)
                if self.connection is not None:
                    sent = self._serve_ours(self.connection, data, sent)
                self._wait()
        finally:
            if opened is not None:
                opened.close()
        return bytes(kernel_got)

    # ---- the owners

    def _accepted(self, listener: socket.socket) -> socket.socket | None:
        try:
            opened = listener.accept()[0]
        except BlockingIOError:
            return None
        opened.setblocking(False)
        return opened

    def _serve_kernel(self, opened: socket.socket, data: bytes, sent: int, got: bytearray) -> tuple[int, bool]:
        try:
            # ENOTCONN until it is: a shutdown() would end the attempt.
            opened.getpeername()
            if sent < len(data):
                sent += opened.send(memoryview(data)[sent : sent + (256 << 10)])
            if sent == len(data):
                opened.shutdown(socket.SHUT_WR)
        except OSError as error:
            # Not connected yet, or full.
            assert error.errno in (errno.EAGAIN, errno.EPIPE, errno.ENOTCONN), error
        try:
            part = opened.recv(1 << 20)
        except BlockingIOError:
            return sent, False
        got += part
        return sent, not part and sent == len(data)

    def _serve_ours(self, connection: TcpConnection, data: bytes, sent: int) -> int:
        waiting = connection.received()
        if waiting:
            self.got += waiting.tobytes()
            connection.consumed(waiting.nbytes)
        sent += connection.write(data[sent : sent + (64 << 10)])
        if sent == len(data):
            connection.close()
        connection.on_deadline(self._now)
        connection.transmit(self._emit, self._now)
        return sent

    # ---- packets

    def _read_packets(self) -> None:
        for _ in range(64):
            try:
                packet = os.read(self.fd, 70_000)
            except BlockingIOError:
                return
            self._throw(packet, to_kernel=False)

    def _throw(self, packet: bytes, to_kernel: bool) -> None:
        """Onto the wire, which may lose it, send it twice, or late."""
        dice = self.dice
        for _ in range(1 + (dice.random() < self.loss)):
            if dice.random() < self.loss:
                self.lost += 1
                continue
            late = dice.randrange(5 * MS) if dice.random() < 2 * self.loss else 0
            heapq.heappush(self._wire, (self._now + late, next(self._order), packet, to_kernel))

    def _deliver(self) -> None:
        while self._wire and self._wire[0][0] <= self._now:
            _, _, packet, to_kernel = heapq.heappop(self._wire)
            if to_kernel:
                os.write(self.fd, packet)
            else:
                self._arrives(packet[VNET.size :] if self.offload else packet)

    def _arrives(self, packet: bytes) -> None:
        if packet[0] >> 4 != 4:
            # The kernel looks for IPv6 routers.
            return
        header = ipv4.parse(packet)
        if header.protocol != ipv4.TCP:
            return
        if not self.offload:
            assert checksum.transport(header.source, header.destination, 6, packet[header.start : header.end]) == 0
        source_port, own_port, segment, start = tcp_packets.parse(packet, header.start, header.end)
        payload = packet[start : header.end]
        if self.connection is None and segment.flags & ~0xC0 == SYN:
            self.ports = (source_port, own_port)
            self.connection = TcpConnection.accept(segment, self._now, self.dice.randrange(1 << 32), self.settings)
            self.connection.max_segment = 60_000 if self.offload else 0
            self.connection.establish()
        connection = self.connection
        if connection is None or connection.closed:
            answer = reset_for(segment, len(payload))
            if answer is not None:
                self._emit(answer, Buffers())
            return
        lent = connection.segment_arrives(segment, Buffers.of(payload), self._now)
        if lent:
            # A part is taken later.
            taken = self.dice.randint(0, lent.nbytes)
            self.got += lent.split(taken)[0].tobytes()
            connection.consumed(taken)
        connection.transmit(self._emit, self._now)

    def _emit(self, segment: Segment, payload: Buffers) -> bool:
        ports = (self.ports[1], self.ports[0])
        data = payload.tobytes()
        if self.offload:
            assert self.connection is not None
            length = tcp_packets.header_length(segment)
            total = checksum.pseudo_header(OURS, KERNEL, 6, length + len(data))
            body = tcp_packets.pack_header(*ports, segment, total % 65535) + data
            size = self.connection.segment_size
            gso = len(data) > size
            vnet = VNET.pack(1, int(gso), 20 + length if gso else 0, size if gso else 0, 20, 16)
        else:
            body = tcp_packets.pack(OURS, KERNEL, ports, segment, data)
            vnet = b""
        self._throw(vnet + ipv4.Header(OURS, KERNEL, ipv4.TCP).pack(len(body)) + body, to_kernel=True)
        return True

    def _wait(self) -> None:
        """For a packet, or a time that has come; the kernel's sockets are asked every millisecond."""
        deadline = self._now + MS
        if self._wire:
            deadline = min(deadline, self._wire[0][0])
        select.select([self.fd], [], [], max(deadline - time.monotonic_ns(), 0) / 1e9)
