# SPDX-License-Identifier: GPL-2.0-or-later
"""Datagrams: the test is the guest, with a wire, and the other machine, with a socket."""

from __future__ import annotations

import socket

import pytest
from datagrams import Datagrams, DatagramsOptions

from asyncemu.errors import NetError
from asyncemu.net import connect
from asyncemu.testing import DeviceBench, until
from asyncemu.testing.memory_wire import Wire


async def test_frames_go_both_ways() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.settimeout(10)
        async with DeviceBench() as bench:
            options = DatagramsOptions(port=0, peer=other.getsockname()[1])
            backend, wire = Datagrams(options, "net0", bench.context, bench.clocks), Wire(bench.context)
            connect(backend, wire)
            await backend.open()

            wire.feed(b"to the other machine")
            data, address = other.recvfrom(100)
            other.sendto(b"to the guest", address)
            await until(lambda: bool(wire.frames))

            assert (data, wire.frames) == (b"to the other machine", [b"to the guest"])
            await backend.close()


async def test_port_that_is_taken_is_one_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        async with DeviceBench() as bench:
            backend = Datagrams(DatagramsOptions(port=port, peer=1), "net0", bench.context, bench.clocks)

            with pytest.raises(NetError, match=rf"net0: bind to 127.0.0.1:{port}: Address already in use"):
                await backend.open()
