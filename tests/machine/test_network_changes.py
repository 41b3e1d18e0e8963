# SPDX-License-Identifier: GPL-2.0-or-later
"""Netdevs, filters and doors that come and go while a machine is there; what its networks tell when they are asked."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from asyncemu.errors import ConfigError
from asyncemu.events import Event
from asyncemu.machine import Machine
from asyncemu.net.events import NetdevStreamConnected, NetdevStreamDisconnected
from asyncemu.net.refusals import NotThere, Refused
from asyncemu.plugin_options import Configured, configure
from asyncemu.testing import memory_wire, until
from asyncemu.virtio.net import VirtioNet
from tests.machine.conftest import Make

# Makes the netdev ``memory`` known.
assert memory_wire
QEMU = shutil.which("qemu-system-riscv64")

NIC = {"driver": "virtio-net", "id": "nic0", "netdev": "net0"}
MEMORY = {"id": "net0", "type": "memory"}
USER = {"id": "net0", "type": "user"}


def netdev(table: dict[str, Any], directory: Path | None = None) -> Configured:
    return configure("netdev", table, "netdev_add", directory)


def listen(machine: Machine) -> list[Event]:
    """What it tells, from now on."""
    events: list[Event] = []
    machine.events.subscribe(lambda occurrence: events.append(occurrence.event))
    return events


# ---- netdev_add, netdev_del


async def test_netdev_added_is_open_and_can_be_named(make: Make) -> None:
    machine = make(netdev=[MEMORY])
    await machine.build()

    await machine.net.add_netdev(netdev({"id": "port0", "type": "hubport", "hubid": 1, "netdev": "net0"}))

    assert list(machine.net.netdevs) == ["net0", "port0"]
    assert machine.net.netdevs["net0"].peer is machine.net.netdevs["port0"]


async def test_netdev_added_lives_with_the_one_that_it_names(make: Make) -> None:
    machine = make(iothread=[{"id": "io0"}], netdev=[MEMORY])
    await machine.build()
    io0 = machine.iothreads["io0"].aio_context

    await machine.net.add_netdev(netdev({"id": "net1", "type": "memory"}), "io0")
    await machine.net.add_netdev(netdev({"id": "port0", "type": "hubport", "hubid": 1, "netdev": "net1"}))
    await machine.net.add_netdev(netdev({"id": "port1", "type": "hubport", "hubid": 1}))

    assert [each.context for each in machine.net.netdevs.values()] == [machine.context, io0, io0, io0]


async def test_netdev_added_lives_with_the_chardev_that_it_names(make: Make) -> None:
    machine = make(
        iothread=[{"id": "io0"}],
        chardev=[{"id": "c0", "backend": "null", "mux": True}],
        device=[{"driver": "virtio-console", "chardev": "c0", "iothread": "io0"}],
    )
    await machine.build()

    await machine.net.add_netdev(netdev({**USER, "guestfwd": ["tcp:10.0.2.100:7-chardev:c0"]}))

    assert machine.net.netdevs["net0"].context is machine.iothreads["io0"].aio_context


async def test_netdev_added_twice_is_refused(make: Make) -> None:
    machine = make(netdev=[MEMORY])
    await machine.build()

    with pytest.raises(Refused, match=r"^Duplicate ID 'net0'$"):
        await machine.net.add_netdev(netdev(MEMORY))


async def test_netdev_added_that_fails_leaves_nothing(make: Make) -> None:
    machine = make(netdev=[MEMORY])
    await machine.build()

    for table, problem in (
        (
            {"id": "n", "type": "hubport", "hubid": 1, "netdev": "none"},
            "netdev_add.netdev: no netdev has the id 'none'",
        ),
        ({"id": "n", "type": "user", "tftp": "none"}, "netdev_add.tftp: none: no such folder"),
        ({"id": "n", "type": "user", "ipv4": False, "ipv6": False}, "netdev_add: neither ipv4 nor ipv6 is on"),
    ):
        with pytest.raises(ConfigError, match=f"^{problem}"):
            await machine.net.add_netdev(netdev(table))

    assert list(machine.net.netdevs) == ["net0"]


async def test_netdev_removed_leaves_its_card_without_a_link(make: Make) -> None:
    machine = make(netdev=[MEMORY], netfilter=[{"id": "f0", "type": "filter-rewriter", "netdev": "net0"}], device=[NIC])
    await machine.build()
    nic = machine.devices["nic0"]
    assert isinstance(nic, VirtioNet)
    before = nic.config.status

    await machine.net.remove_netdev("net0")

    assert (before, nic.config.status) == (1, 0)
    assert (machine.net.netdevs, machine.net.filters) == ({}, {})


async def test_netdev_removed_and_added_again_is_another_one(make: Make) -> None:
    machine = make(netdev=[MEMORY])
    await machine.build()
    first = machine.net.netdevs["net0"]

    await machine.net.remove_netdev("net0")
    await machine.net.add_netdev(netdev(MEMORY))

    assert machine.net.netdevs["net0"] is not first


async def test_netdev_removed_that_is_not_there_is_refused(make: Make) -> None:
    machine = make(netdev=[MEMORY], device=[NIC])
    await machine.build()

    for name in ("net1", "nic0"):
        with pytest.raises(NotThere, match=f"^Device '{name}' not found$"):
            await machine.net.remove_netdev(name)


# ---- filters


async def test_filter_added_and_removed_is_on_the_link_in_between(make: Make) -> None:
    machine = make(netdev=[MEMORY], device=[NIC])
    await machine.build()
    port = machine.net.netdevs["net0"]
    table = {"id": "f0", "type": "filter-rewriter", "netdev": "net0"}

    await machine.net.add_filter(configure("netfilter", table, "object-add"))
    between = port.first_filter
    await machine.net.remove_filter("f0")

    assert between is not None
    assert port.first_filter is None


async def test_filter_added_twice_or_removed_twice_is_refused(make: Make) -> None:
    table = {"id": "f0", "type": "filter-rewriter", "netdev": "net0"}
    machine = make(netdev=[MEMORY], netfilter=[table], device=[NIC])
    await machine.build()

    with pytest.raises(Refused, match=r"^Duplicate ID 'f0'$"):
        await machine.net.add_filter(configure("netfilter", table, "object-add"))
    await machine.net.remove_filter("f0")
    with pytest.raises(NotThere, match=r"^Device 'f0' not found$"):
        await machine.net.remove_filter("f0")


async def test_filter_added_whose_chardev_lives_elsewhere_is_an_error(make: Make) -> None:
    machine = make(
        iothread=[{"id": "io0"}],
        chardev=[{"id": "c0", "backend": "null"}],
        netdev=[MEMORY],
        device=[{**NIC, "iothread": "io0"}],
    )
    await machine.build()
    table = {"id": "f0", "type": "filter-mirror", "netdev": "net0", "outdev": "c0"}

    with pytest.raises(ConfigError) as caught:
        await machine.net.add_filter(configure("netfilter", table, "object-add"))

    home = machine.context.name
    problem = f"chardev 'c0' lives in {home}, and netdev 'net0' in io0; use another one"
    assert str(caught.value) == f"object-add.outdev: {problem}"
    assert machine.net.filters == {}


# ---- user networks


async def test_hostfwd_comes_and_goes_in_the_home_of_the_netdev(make: Make) -> None:
    machine = make(iothread=[{"id": "io0"}], netdev=[USER], device=[{**NIC, "iothread": "io0"}])
    await machine.build()

    await machine.net.add_hostfwd("tcp:127.0.0.1:0-:22", "net0")
    (door,) = await machine.net.connections("net0")
    removed = await machine.net.remove_hostfwd(f"tcp:127.0.0.1:{door.source_port}")
    again = await machine.net.remove_hostfwd(f"tcp:127.0.0.1:{door.source_port}")

    assert (door.state, door.destination, door.destination_port) == ("HOST_FORWARD", "10.0.2.15", 22)
    assert (removed, again) == (True, False)
    assert (await machine.net.statistics("net0"))["TCP connections"] == 0


@pytest.mark.parametrize(
    ("netdevs", "id", "problem"),
    [
        ([], "", "user mode network stack not in use"),
        ([USER], "net1", "unrecognized netdev id 'net1'"),
        ([MEMORY], "net0", "invalid device specified"),
    ],
)
async def test_hostfwd_of_no_user_network_is_refused(
    make: Make, netdevs: list[dict[str, Any]], id: str, problem: str
) -> None:
    machine = make(netdev=netdevs)
    await machine.build()

    with pytest.raises(Refused, match=f"^{problem}$"):
        await machine.net.add_hostfwd("tcp::0-:22", id)


async def test_guestfwd_to_a_chardev_that_is_not_there_is_an_error(make: Make) -> None:
    forward = "tcp:10.0.2.100:7-chardev:c1"

    with pytest.raises(ConfigError) as caught:
        make(chardev=[{"id": "c0", "backend": "null"}], netdev=[{**USER, "guestfwd": [forward]}])

    assert str(caught.value) == "netdev[0].guestfwd[0]: no chardev is named 'c1'; did you mean 'c0'?"


async def test_guestfwd_to_a_chardev_lives_with_the_card(make: Make) -> None:
    machine = make(
        iothread=[{"id": "io0"}],
        chardev=[{"id": "c0", "backend": "null"}],
        netdev=[{**USER, "guestfwd": ["tcp:10.0.2.100:7-chardev:c0"]}],
        device=[{**NIC, "iothread": "io0"}],
    )
    await machine.build()

    chardev = machine.chardevs["c0"]
    assert chardev.context is machine.iothreads["io0"].aio_context
    assert chardev.frontend is machine.net.netdevs["net0"].programs[0].bridge  # type: ignore[attr-defined]


# ---- what cards let in


async def test_rx_filters_of_what_is_no_card_are_refused(make: Make) -> None:
    machine = make(netdev=[MEMORY], device=[NIC])
    await machine.build()

    with pytest.raises(Refused, match=r"^invalid net client name: zz$"):
        await machine.net.rx_filters("zz")
    with pytest.raises(Refused, match=r"^net client\(net0\) isn't a NIC$"):
        await machine.net.rx_filters("net0")


@pytest.mark.skipif(QEMU is None, reason="no qemu-system-riscv64")
async def test_rx_filter_at_power_on_is_that_of_qemu(make: Make) -> None:
    machine = make(netdev=[MEMORY], device=[NIC])
    await machine.build()
    commands = '{"execute":"qmp_capabilities"}{"execute":"query-rx-filter"}{"execute":"quit"}'
    arguments = ["-M", "virt", "-display", "none", "-S", "-qmp", "stdio", "-netdev", "user,id=net0"]
    process = await asyncio.create_subprocess_exec(
        str(QEMU),
        *arguments,
        "-device",
        "virtio-net-device,id=nic0,netdev=net0",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate(commands.encode())
    theirs = next(reply["return"][0] for reply in map(json.loads, out.splitlines()) if reply.get("return"))

    (ours,) = await machine.net.rx_filters()

    # QEMU has this one upside down.
    theirs["broadcast-allowed"] = not theirs["broadcast-allowed"]
    assert {name.replace("_", "-"): value for name, value in asdict(ours).items()} == theirs


# ---- events


async def test_stream_tells_who_comes_and_goes(make: Make, tmp_path: Path) -> None:
    machine = make(
        netdev=[
            {"id": "s0", "type": "stream", "server": True, "addr": {"type": "inet", "host": "127.0.0.1", "port": 0}}
        ]
    )
    await machine.build()
    events = listen(machine)
    port = machine.net.netdevs["s0"].end.address.port  # type: ignore[attr-defined]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    own_port = writer.get_extra_info("sockname")[1]
    await until(lambda: len(events) == 1)
    summary = machine.net.netdevs["s0"].summary()
    writer.close()
    await until(lambda: len(events) == 2)

    assert isinstance(events[0], NetdevStreamConnected)
    addr = {"type": "inet", "host": "127.0.0.1", "port": str(own_port), "ipv4": True}
    assert events[0].to_wire() == {"netdev-id": "s0", "addr": addr}
    assert events[1] == NetdevStreamDisconnected(netdev_id="s0")
    assert (summary, machine.net.netdevs["s0"].summary()) == (f"stream,tcp:127.0.0.1:{own_port}", "stream,")


async def test_stream_of_a_unix_socket_tells_the_path_of_the_server(make: Make, tmp_path: Path) -> None:
    machine = make(netdev=[{"id": "s0", "type": "stream", "server": True, "addr": {"type": "unix", "path": "wire"}}])
    await machine.build()
    events = listen(machine)

    _, writer = await asyncio.open_unix_connection(tmp_path / "wire")
    await until(lambda: len(events) == 1)

    assert events[0].to_wire() == {"netdev-id": "s0", "addr": {"type": "unix", "path": str(tmp_path / "wire")}}
    writer.close()


# ---- info network


@pytest.mark.parametrize(
    ("table", "summary"),
    [
        ({"type": "user", "net": "10.9.0.0/16", "restrict": True}, "user,net=10.9.0.0,restrict=on"),
        ({"type": "null"}, "null"),
        ({"type": "socket", "listen": "127.0.0.1:0"}, "socket,"),
        (
            {"type": "socket", "udp": "127.0.0.1:9", "localaddr": "127.0.0.1:0"},
            "socket,socket: udp=127.0.0.1:9",
        ),
    ],
)
async def test_summary_of_a_netdev_is_qemus(make: Make, table: dict[str, Any], summary: str) -> None:
    machine = make(netdev=[{"id": "net0", **table}])
    await machine.build()

    assert machine.net.netdevs["net0"].summary() == summary


async def test_summary_of_a_card_is_qemus(make: Make) -> None:
    machine = make(netdev=[MEMORY], device=[NIC])
    await machine.build()

    (nic,) = machine.net.nics.values()
    assert isinstance(nic, VirtioNet)
    assert nic.summary() == "nic,model=virtio-net-device,macaddr=52:54:00:12:34:56"
