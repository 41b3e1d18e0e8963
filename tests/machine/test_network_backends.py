# SPDX-License-Identifier: GPL-2.0-or-later
"""Back ends and filters of networks, as vm.toml names them, put together with cards and iothreads."""

from __future__ import annotations

import asyncio
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncemu.config.load import check
from asyncemu.errors import ConfigError
from asyncemu.machine import Machine
from asyncemu.net import Frame, NetPort
from asyncemu.net.hubport import Hubport
from asyncemu.net.stream import Stream
from asyncemu.testing import until
from asyncemu.testing.memory_wire import MemoryNetdev
from tests.machine.conftest import Make
from tests.net.frames import numbered
from tests.net.peers import framed, read

IOTHREAD = [{"id": "io0"}]


async def at(port: NetPort, action: Callable[[], Any]) -> Any:
    """Do it at the port's home."""

    async def act() -> Any:
        return action()

    return await port.context.call(act)


def memory(machine: Machine, id: str) -> MemoryNetdev:
    netdev = machine.net.netdevs[id]
    assert isinstance(netdev, MemoryNetdev)
    return netdev


async def test_hub_joins_a_card_and_netdevs_in_its_iothread(make: Make) -> None:
    machine = make(
        iothread=IOTHREAD,
        netdev=[
            {"id": "port0", "type": "hubport", "hubid": 1},
            {"id": "port1", "type": "hubport", "hubid": 1, "netdev": "m1"},
            {"id": "port2", "type": "hubport", "hubid": 1, "netdev": "m2"},
            {"id": "m1", "type": "memory"},
            {"id": "m2", "type": "memory"},
        ],
        device=[{"driver": "virtio-net", "netdev": "port0", "iothread": "io0"}],
    )
    await machine.build()
    one, other = memory(machine, "m1"), memory(machine, "m2")

    await at(one, lambda: one.feed(numbered(1)))

    assert other.frames == [numbered(1)]
    homes = {netdev.context for netdev in machine.net.netdevs.values()}
    assert homes == {machine.iothreads["io0"].aio_context}
    assert isinstance(machine.net.netdevs["port0"], Hubport)


async def test_filters_and_their_chardevs_live_with_the_card(make: Make, tmp_path: Path) -> None:
    machine = make(
        iothread=IOTHREAD,
        chardev=[{"id": "c0", "backend": "socket", "path": "mirror", "server": True, "wait": False}],
        netdev=[{"id": "m1", "type": "memory"}],
        netfilter=[
            {"id": "f0", "type": "filter-mirror", "netdev": "m1", "outdev": "c0"},
            {"id": "f1", "type": "filter-dump", "netdev": "m1", "file": "net.pcap"},
        ],
        device=[{"driver": "virtio-net", "netdev": "m1", "iothread": "io0"}],
    )
    await machine.build()
    wire = memory(machine, "m1")
    card = wire.peer
    assert card is not None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.connect(str(tmp_path / "mirror"))
        listener.setblocking(False)
        await until(lambda: machine.chardevs["c0"].opened)

        await at(card, lambda: card.send((Frame.of(numbered(1)),)))

        assert await read(listener, 64) == framed(numbered(1))
    await machine.close()
    assert (tmp_path / "net.pcap").read_bytes()[40:] == numbered(1)


async def test_stream_joins_two_machines_with_iothreads(make: Make, tmp_path: Path) -> None:
    addr = {"type": "unix", "path": "wire"}
    machines = [
        make(
            iothread=IOTHREAD,
            netdev=[
                {"id": "port0", "type": "hubport", "hubid": 0},
                {"id": "port1", "type": "hubport", "hubid": 0, "netdev": "s0"},
                {"id": "port2", "type": "hubport", "hubid": 0, "netdev": "m0"},
                {"id": "s0", "type": "stream", "addr": addr, "server": server},
                {"id": "m0", "type": "memory"},
            ],
            device=[{"driver": "virtio-net", "netdev": "port0", "iothread": "io0"}],
        )
        for server in (True, False)
    ]
    for machine in machines:
        await machine.build()
    one, other = (memory(machine, "m0") for machine in machines)
    streams = [machine.net.netdevs["s0"] for machine in machines]
    await until(lambda: all(stream.carrier for stream in streams))

    await at(one, lambda: one.feed(*map(numbered, range(100))))

    await until(lambda: len(other.received) == 100)
    assert isinstance(streams[0], Stream)


async def test_set_link_of_a_stream_stops_frames(make: Make, tmp_path: Path) -> None:
    machine = make(
        netdev=[
            {"id": "port1", "type": "hubport", "hubid": 0, "netdev": "s0"},
            {"id": "port2", "type": "hubport", "hubid": 0, "netdev": "m0"},
            {"id": "s0", "type": "stream", "addr": {"type": "unix", "path": "wire"}, "server": True},
            {"id": "m0", "type": "memory"},
        ]
    )
    await machine.build()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "wire")
    await until(lambda: machine.net.netdevs["s0"].carrier)

    await machine.net.set_link("s0", False)
    memory(machine, "m0").feed(numbered(1))
    await machine.net.set_link("s0", True)
    memory(machine, "m0").feed(numbered(2))

    async with asyncio.timeout(10):
        assert await reader.readexactly(64) == framed(numbered(2))
    writer.close()
    await writer.wait_closed()


TEXTS = {
    "stream": """
        [[netdev]]
        id = "net0"
        type = "stream"
        addr.type = "inet"
        addr.host = "127.0.0.1"
        addr.port = 1234
        server = true
        """,
    "dgram": """
        [[netdev]]
        id = "net0"
        type = "dgram"
        local = { type = "unix", path = "a" }
        remote = { type = "unix", path = "b" }
        """,
    "tap": """
        [[netdev]]
        id = "net0"
        type = "tap"
        ifname = "tap0"
        queues = 2
        vnet_hdr = true
        sndbuf = "1MiB"
        script = "no"
        """,
    "redirector": """
        [[chardev]]
        id = "c0"
        backend = "null"
        [[netdev]]
        id = "net0"
        type = "null"
        [[netfilter]]
        id = "f0"
        type = "filter-redirector"
        netdev = "net0"
        indev = "c0"
        queue = "tx"
        vnet_hdr_support = true
        """,
    "netem": """
        [[netdev]]
        id = "net0"
        type = "null"
        [[netfilter]]
        id = "f0"
        type = "filter-netem"
        netdev = "net0"
        delay = 20_000
        loss = 1.5
        """,
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_tables_are_read_as_qemu_names_them(text: str, tmp_path: Path) -> None:
    config = check({"machine": {"memory": "16MiB"}, **tomllib.loads(text)}, tmp_path)

    assert config.netdevs[0].identity == "net0"


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "type of address": ({"type": "stream", "addr": {"type": "tcp"}}, "netdev[0].addr.type: "),
    "no address": ({"type": "stream"}, "netdev[0].addr: is missing"),
    "unknown key of address": (
        {"type": "stream", "addr": {"type": "inet", "hots": "x", "port": 1}},
        "netdev[0].addr.hots: unknown key; did you mean 'host'?",
    ),
    "address incomplete": (
        {"type": "stream", "addr": {"type": "unix"}},
        "netdev[0].addr: an address of type 'unix' needs path",
    ),
    "socket without kind": (
        {"type": "socket"},
        "netdev[0]: needs exactly one of listen, connect, mcast, udp and fd",
    ),
    "port": ({"type": "socket", "listen": ":x"}, "netdev[0].listen: 'x' is not a port; write a number up to 65535"),
    "hub": ({"type": "hubport"}, "netdev[0].hubid: is missing"),
    "tap": ({"type": "tap", "br": "br0"}, "netdev[0]: br is only for helper"),
}


@pytest.mark.parametrize(("table", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_with_a_table_is_said_at_its_place(table: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check({"machine": {"memory": "16MiB"}, "netdev": [{"id": "net0", **table}]}, tmp_path)

    assert str(caught.value).startswith(message)


async def test_error_of_the_host_is_said_at_the_tables_place(make: Make) -> None:
    machine = make(netdev=[{"id": "net0", "type": "stream", "addr": {"type": "unix", "path": "/no/wire"}}])

    with pytest.raises(ConfigError) as caught:
        await machine.build()

    assert str(caught.value) == "netdev[0]: net0: connect to unix:/no/wire: No such file or directory"
