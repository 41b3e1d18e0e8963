# SPDX-License-Identifier: GPL-2.0-or-later
"""Tap devices in a network namespace of the test's own, which ends with it. Needs root, /dev/net/tun and ``ip``."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
import uvloop

from asyncemu.loop import AioContext, Clocks
from asyncemu.net import connect
from asyncemu.net.tap import Tap, TapOptions
from asyncemu.net.tap.bridge import Bridge, BridgeOptions
from asyncemu.testing.memory_wire import Wire
from tests.net.tcp.kernel_wire import in_own_network

#: ETH_P_ALL: packet(7).
EVERYTHING = 3

Body: TypeAlias = "Callable[[Host], Awaitable[None]]"


class Host:
    """The host's side of the namespace, and our netdevs in it."""

    def __init__(self, context: AioContext) -> None:
        self.context = context
        self.netdevs: list[Tap] = []
        self.bridges: list[Bridge] = []
        self.sockets: list[socket.socket] = []

    async def tap(self, **options: Any) -> Wire:
        """The guest's end of a netdev that is open, with wires at its other queues, too."""
        options = {"script": "no", "downscript": "no", "ifname": "tap7", **options}
        chosen = {key: value for key, value in options.items() if value is not None}
        netdev = Tap(TapOptions.model_validate(chosen), f"net{len(self.netdevs)}", self.context, Clocks())
        wires = [Wire(self.context, f"wire{index}") for index, _ in enumerate(netdev.ports)]
        for wire, port in zip(wires, netdev.ports, strict=True):
            connect(wire, port)
        await netdev.open()
        self.netdevs.append(netdev)
        return wires[0]

    async def bridge(self, **options: Any) -> tuple[Wire, Bridge]:
        """The guest's end of a netdev ``bridge`` that is open, and that."""
        netdev = Bridge(BridgeOptions.model_validate(options), f"net{len(self.bridges)}", self.context, Clocks())
        wire = Wire(self.context)
        connect(wire, netdev)
        await netdev.open()
        self.bridges.append(netdev)
        return wire, netdev

    def ip(self, command: str) -> str:
        """The output of ``ip``."""
        return subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True, timeout=20).stdout

    def up(self, interface: str = "tap7") -> socket.socket:
        """Plug it in; a socket with all frames of it."""
        self.ip(f"link set {interface} up")
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, EVERYTHING)
        self.sockets.append(raw)
        raw.bind((interface, EVERYTHING))
        raw.settimeout(10)
        return raw


@pytest.fixture
def in_namespace() -> Callable[[Body], None]:
    """Runs an async test in a thread with a network of its own."""

    def run(body: Body) -> None:
        async def with_host() -> None:
            context = AioContext(asyncio.get_running_loop(), "test")
            host = Host(context)
            try:
                await body(host)
            finally:
                for netdev in (*host.netdevs, *host.bridges):
                    await netdev.close()
                for each in host.sockets:
                    each.close()
                context.worker_pool.close()
                context.close()

        def in_thread() -> None:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(with_host())

        in_own_network(in_thread)

    return run
