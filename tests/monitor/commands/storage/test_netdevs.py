# SPDX-License-Identifier: GPL-2.0-or-later
"""netdev_add, netdev_del, set_link, query-rx-filter, announce-self: what they do, and QEMU's words for errors."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from asyncemu.events import Occurrence
from asyncemu.monitor.descriptors import NamedDescriptors
from asyncemu.monitor.errors import QmpError
from asyncemu.net.events import NetdevStreamConnected, NetdevStreamDisconnected
from tests.monitor.commands.storage.conftest import Command, Commander
from tests.monitor.commands.storage.qemu import ask_qemu, needs_qemu

NIC = {"driver": "virtio-net", "id": "nic0", "netdev": "n0", "mac": "52:54:00:12:34:99"}


async def until(vm: Commander, kind: type) -> None:
    """An event of that kind has come."""
    came = asyncio.Event()

    def look(occurrence: Occurrence) -> None:
        if isinstance(occurrence.event, kind):
            came.set()

    unsubscribe = vm.machine.events.subscribe(look)
    if not any(isinstance(each, kind) for each in vm.events):
        async with asyncio.timeout(30):
            await came.wait()
    unsubscribe()


async def test_stream_added_serves_a_peer_and_tells_of_it(command: Command, tmp_path: Path) -> None:
    vm = await command()
    address = {"type": "unix", "path": str(tmp_path / "wire.sock")}
    await vm.ask("netdev_add", type="stream", id="n0", server=True, addr=address)
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(tmp_path / "wire.sock"))
        await until(vm, NetdevStreamConnected)
    await until(vm, NetdevStreamDisconnected)

    await vm.ask("netdev_del", id="n0")

    assert [each.to_wire() for each in vm.events] == [
        {"netdev-id": "n0", "addr": {"type": "unix", "path": str(tmp_path / "wire.sock")}},
        {"netdev-id": "n0"},
    ]
    assert vm.machine.net.netdevs == {}


async def test_user_network_takes_qemu_s_lists_of_text(command: Command) -> None:
    vm = await command()

    await vm.ask(
        "netdev_add",
        type="user",
        id="n0",
        dnssearch=[{"str": "example.org"}, {"str": "example.com"}],
        hostfwd=[{"str": "tcp:127.0.0.1:0-:22"}],
    )

    options = vm.machine.net.netdevs["n0"].options
    assert (options.dnssearch, options.hostfwd) == (["example.org", "example.com"], ["tcp:127.0.0.1:0-:22"])


async def test_descriptor_s_number_is_text(command: Command) -> None:
    vm = await command()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        await vm.ask("netdev_add", type="socket", id="n0", fd=str(ours.fileno()))

        assert vm.machine.net.netdevs["n0"].options.fd == ours.fileno()


class Holder:
    """A monitor whose client has handed over a descriptor."""

    id = "qmp0"

    def __init__(self, vm: Commander, name: str, fd: int) -> None:
        self.context = vm.machine.context
        self.descriptors = NamedDescriptors()
        self.descriptors.keep(name, fd)

    async def take_descriptor(self) -> int | None:
        return None


async def test_descriptor_that_a_client_has_handed_over_goes_by_its_name(command: Command) -> None:
    vm = await command()
    ours, theirs = socket.socketpair()
    with theirs:
        holder = Holder(vm, "wire", ours.detach())
        await vm.control.execute("netdev_add", {"type": "socket", "id": "n0", "fd": "wire"}, holder)
        with pytest.raises(QmpError, match="File descriptor named 'wire' not found"):
            await vm.control.execute("netdev_add", {"type": "socket", "id": "n1", "fd": "wire"}, holder)

        await vm.ask("netdev_del", id="n0")

        # Nobody has it any more.
        assert theirs.recv(1) == b""


async def test_descriptor_s_name_without_a_monitor_is_not_found(command: Command) -> None:
    vm = await command()

    found = await vm.error("netdev_add", type="stream", id="n0", addr={"type": "fd", "str": "wire"})

    assert found == ("GenericError", "File descriptor named 'wire' has not been found")


async def test_filters_go_with_their_netdev(command: Command) -> None:
    vm = await command(netdev=[{"id": "n0", "type": "null"}])
    await vm.ask("object-add", qom_type="filter-rewriter", id="f0", netdev="n0")

    await vm.ask("netdev_del", id="n0")

    assert await vm.error("object-del", id="f0") == ("GenericError", "object 'f0' not found")


async def test_link_set_down_is_down_for_the_card_and_the_netdev(command: Command) -> None:
    vm = await command(netdev=[{"id": "n0", "type": "null"}], device=[NIC])
    netdev = vm.machine.net.netdevs["n0"]
    await vm.ask("set_link", name="n0", up=False)
    down = netdev.link_up

    await vm.ask("set_link", name="n0", up=True)

    assert (down, netdev.link_up) == (False, True)


@needs_qemu
async def test_rx_filter_of_a_card_is_qemus(command: Command) -> None:
    card = "virtio-net-device,netdev=n0,id=nic0,mac=52:54:00:12:34:99"
    asked = [("query-rx-filter", {}), ("query-rx-filter", {"name": "nic0"})]
    theirs = await ask_qemu(asked, "-netdev", "hubport,id=n0,hubid=0", "-device", card)
    vm = await command(netdev=[{"id": "n0", "type": "hubport", "hubid": 0}], device=[NIC])

    ours = await vm.replies(asked)

    for reply in (*ours, *theirs):
        for each in reply["return"]:
            each["vlan-table"] = sorted(each["vlan-table"])
            # QEMU 7.2 tells the opposite.
            del each["broadcast-allowed"]
    assert ours == theirs


async def test_announce_self_with_what_no_network_bears_is_refused(command: Command) -> None:
    vm = await command()

    error_class, problem = await vm.error("announce-self", initial=-1, max=1, rounds=1, step=1)

    assert (error_class, "'initial'" in problem) == ("GenericError", True)


SAME_ANSWERS: list[tuple[str, dict[str, Any]]] = [
    ("netdev_add", {"type": "user", "id": "u0"}),
    ("netdev_add", {"type": "user", "id": "u0"}),
    ("netdev_add", {"type": "bogus", "id": "x"}),
    ("netdev_add", {"type": 5, "id": "x"}),
    ("netdev_add", {"type": "user", "id": "1"}),
    ("netdev_add", {"type": "user", "id": 1}),
    ("netdev_add", {"type": "user"}),
    ("netdev_add", {"id": "x"}),
    ("netdev_add", {"type": "user", "id": "x", "bogus": 1}),
    ("netdev_add", {"type": "user", "id": "x", "restrict": "on"}),
    ("netdev_add", {"type": "user", "id": "x", "hostname": 5}),
    ("netdev_add", {"type": "nic", "id": "x"}),
    ("netdev_add", {"type": "none", "id": "x"}),
    ("netdev_add", {"type": "hubport", "id": "x"}),
    ("netdev_add", {"type": "hubport", "id": "x", "hubid": "0"}),
    ("netdev_add", {"type": "stream", "id": "x"}),
    ("netdev_add", {"type": "hubport", "id": "h1", "hubid": 0}),
    ("netdev_del", {"id": "zz"}),
    ("netdev_del", {}),
    ("netdev_del", {"id": "u0"}),
    ("netdev_del", {"id": "u0"}),
    ("netdev_del", {"id": "nic0"}),
    ("set_link", {"name": "zz", "up": False}),
    ("set_link", {"name": "h1", "up": False}),
    ("set_link", {"name": "h1", "up": 1}),
    ("set_link", {"name": "h1"}),
    ("query-rx-filter", {"name": "zz"}),
    ("query-rx-filter", {"name": "h1"}),
    ("announce-self", {"initial": 1, "max": 1, "rounds": 1, "step": 0}),
    ("announce-self", {"initial": 1, "max": 1, "rounds": 1, "step": 0, "interfaces": ["zz"], "id": "a"}),
    ("announce-self", {"initial": 1, "max": 1, "rounds": 1, "step": 0, "interfaces": "zz"}),
    ("announce-self", {"initial": 1, "max": 1, "rounds": 1}),
    ("announce-self", {}),
]


@needs_qemu
async def test_answers_are_qemus(command: Command) -> None:
    card = "virtio-net-device,netdev=n0,id=nic0,mac=52:54:00:12:34:99"
    vm = await command(netdev=[{"id": "n0", "type": "hubport", "hubid": 7}], device=[NIC])

    ours = await vm.replies(SAME_ANSWERS)
    theirs = await ask_qemu(SAME_ANSWERS, "-netdev", "hubport,id=n0,hubid=7", "-device", card)

    assert list(zip(SAME_ANSWERS, ours, strict=True)) == list(zip(SAME_ANSWERS, theirs, strict=True))
