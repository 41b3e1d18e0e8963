# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks of a machine: netdevs, filters and cards put together from vm.toml, and what can be done with them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

from asyncemu.errors import AsyncemuError, ConfigError, NetError
from asyncemu.loop import AioContext
from asyncemu.net import FilterOptions, Frame, Frames, NetBackend, NetFilter, Way, connect
from asyncemu.net.announce import AnnounceParameters
from asyncemu.net.refusals import NotThere
from asyncemu.options import Options
from asyncemu.plugins import Reference
from asyncemu.testing.memory_wire import MemoryNetdev
from asyncemu.virtio.net import VirtioNet
from tests.machine.conftest import Make

NETDEV = {"id": "net0", "type": "memory"}
NIC = {"driver": "virtio-net", "id": "nic0", "netdev": "net0"}

#: What happened, in its order.
events: list[str] = []


class JointOptions(Options):
    netdev: Annotated[str, Reference("netdev")] = ""
    hub: int = 0

    def home_group(self) -> str:
        return f"hub {self.hub}"


class Joint(NetBackend[JointOptions], name="test-joint"):
    """Names another netdev, as a hub's port does."""

    netdev: NetBackend[Any]

    async def connect(self) -> None:
        events.append(f"open {self.id}")
        if self.options.netdev:
            connect(self, self.netdev)

    async def disconnect(self) -> None:
        events.append(f"close {self.id}")

    def transmit(self, frames: Frames) -> None:
        """Takes all."""


class Refused(NetBackend[Options], name="test-refused"):
    """Can't be opened."""

    async def connect(self) -> None:
        raise NetError(self.id, 13, "open /dev/net/tun")


class Mark(NetFilter[FilterOptions], name="test-mark"):
    """Notes who came by."""

    async def open(self) -> None:
        events.append(f"open {self.id}")

    async def close(self) -> None:
        events.append(f"close {self.id}")

    def pass_on(self, frames: Frames, way: Way) -> int:
        events.append(f"{self.id} {'rx' if way.to_netdev else 'tx'}")
        return way.forward(frames)


@pytest.fixture(autouse=True)
async def no_events() -> AsyncIterator[None]:
    events.clear()
    yield


def mark(id: str, **options: Any) -> dict[str, Any]:
    return {"id": id, "type": "test-mark", "netdev": "net0", **options}


async def test_card_is_connected_to_its_netdev(make: Make) -> None:
    machine = make(netdev=[{"id": "net0", "type": "null"}], device=[NIC])
    await machine.build()

    netdev, nic = machine.net.netdevs["net0"], machine.devices["nic0"]
    assert isinstance(nic, VirtioNet)
    assert nic.netdev is netdev
    assert netdev.peer is nic.pairs[0]
    assert nic.mac.hex() == "525400123456"


async def test_cards_of_one_machine_have_addresses_of_their_own(make: Make) -> None:
    netdevs = [{"id": f"net{number}", "type": "null"} for number in range(2)]
    machine = make(netdev=netdevs, device=[{"driver": "virtio-net", "netdev": each["id"]} for each in netdevs])
    await machine.build()

    assert [nic.mac.hex()[-2:] for nic in machine.devices.values()] == ["56", "57"]  # type: ignore[attr-defined]


async def test_netdev_and_its_filters_live_where_the_card_does(make: Make) -> None:
    machine = make(
        iothread=[{"id": "io0"}], netdev=[NETDEV], netfilter=[mark("f0")], device=[{**NIC, "iothread": "io0"}]
    )
    await machine.build()

    parts = (machine.net.netdevs["net0"], machine.net.filters["f0"], machine.devices["nic0"])
    assert {each.context for each in parts} == {machine.iothreads["io0"].aio_context}


async def test_netdevs_of_a_group_live_together_and_the_one_named_is_opened_first(make: Make) -> None:
    machine = make(
        iothread=[{"id": "io0"}],
        netdev=[
            {"id": "port1", "type": "test-joint", "hub": 7, "netdev": "tap"},
            {"id": "tap", "type": "test-joint", "hub": 8},
            {"id": "port0", "type": "test-joint", "hub": 7},
        ],
        device=[{**NIC, "netdev": "port0", "iothread": "io0"}],
    )
    await machine.build()

    assert {each.context.name for each in machine.net.netdevs.values()} == {"io0"}
    assert events == ["open tap", "open port0", "open port1"]
    assert machine.net.netdevs["tap"].peer is machine.net.netdevs["port1"]


async def test_netdev_without_a_peer_is_a_warning(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    machine = make(netdev=[NETDEV])
    with caplog.at_level(logging.WARNING):
        await machine.build()

    assert "netdev net0 has no peer" in caplog.messages


async def test_everything_is_closed_in_the_reverse_order(make: Make) -> None:
    machine = make(netdev=[{"id": "net0", "type": "test-joint"}], netfilter=[mark("f0")], device=[NIC])
    await machine.build()
    netdev = machine.net.netdevs["net0"]

    await machine.close()

    assert events == ["open net0", "open f0", "close f0", "close net0"]
    assert netdev.peer is None
    assert netdev.first_filter is None


async def test_netdev_that_can_not_be_opened_is_one_line(make: Make) -> None:
    machine = make(netdev=[{"id": "net0", "type": "test-refused"}], device=[NIC])

    with pytest.raises(ConfigError, match=r"netdev\[0\]: net0: open /dev/net/tun: Permission denied"):
        await machine.build()


# ---- filters


async def test_filters_are_placed_by_position(make: Make) -> None:
    machine = make(
        netdev=[NETDEV],
        netfilter=[
            mark("a"),
            mark("b", position="head"),
            mark("c", position="id=a", insert="before"),
            mark("d", position="id=b"),
        ],
        device=[NIC],
    )
    await machine.build()
    netdev, nic = machine.net.netdevs["net0"], machine.devices["nic0"]
    assert isinstance(nic, VirtioNet)
    events.clear()

    netdev.send((Frame.of(bytes(60)),))
    nic.pairs[0].send((Frame.of(bytes(60)),))

    assert events == [f"{name} tx" for name in "bdca"] + [f"{name} rx" for name in "acdb"]


async def test_filter_turned_off_and_on(make: Make) -> None:
    machine = make(netdev=[NETDEV], netfilter=[mark("f0", queue="rx")], device=[NIC])
    await machine.build()
    nic = machine.devices["nic0"]
    assert isinstance(nic, VirtioNet)
    events.clear()

    counts = []
    for on in (True, False, True):
        await machine.net.set_filter("f0", on)
        nic.pairs[0].send((Frame.of(bytes(60)),))
        counts.append(len(events))

    assert counts == [1, 1, 2]


async def test_filter_of_a_netdev_with_queues_is_refused(make: Make) -> None:
    machine = make(netdev=[{**NETDEV, "queues": 2}], netfilter=[mark("f0")], device=[NIC])

    with pytest.raises(ConfigError, match=r"netfilter\[0\]\.netdev: netdev 'net0' has several queues; use one without"):
        await machine.build()


# ---- queue pairs


async def test_pairs_are_spread_over_iothreads(make: Make) -> None:
    machine = make(
        iothread=[{"id": "io0"}, {"id": "io1"}],
        netdev=[{**NETDEV, "queues": 3}],
        device=[{**NIC, "iothread-vq-mapping": [{"iothread": "io1"}, {"iothread": "io0"}]}],
    )
    await machine.build()

    nic, netdev = machine.devices["nic0"], machine.net.netdevs["net0"]
    assert isinstance(nic, VirtioNet)
    assert nic.context.name == "io1"
    assert [pair.context.name for pair in nic.pairs] == ["io1", "io0", "io1"]
    assert [port.context for port in netdev.ports] == [pair.context for pair in nic.pairs]


async def test_pairs_that_the_netdev_does_not_have_are_refused(make: Make) -> None:
    machine = make(
        iothread=[{"id": "io0"}],
        netdev=[NETDEV],
        device=[{**NIC, "iothread-vq-mapping": [{"iothread": "io0", "vqs": [0, 1]}]}],
    )

    with pytest.raises(ConfigError, match=r"device\[0\]\.iothread-vq-mapping: names queue 1"):
        await machine.build()


# ---- at run time


@pytest.mark.parametrize("name", ["net0", "nic0"])
async def test_set_link_of_either_end(make: Make, name: str) -> None:
    machine = make(netdev=[{**NETDEV, "queues": 2}], device=[NIC])
    await machine.build()
    netdev = machine.net.netdevs["net0"]

    states = [netdev.carrier]
    for up in (False, True):
        await machine.net.set_link(name, up)
        states.append(netdev.carrier)

    assert states == [True, False, True]


async def test_set_link_of_what_is_not_there_is_refused(make: Make) -> None:
    machine = make(netdev=[NETDEV], device=[NIC])
    await machine.build()

    with pytest.raises(NotThere, match=r"^Device 'net1' not found$"):
        await machine.net.set_link("net1", False)


@pytest.mark.parametrize(("interfaces", "count"), [(None, 1), (["nic0"], 1), (["nic1"], 0)])
async def test_announce_self_sends_a_frame_of_each_card(
    make: Make, context: AioContext, interfaces: list[str] | None, count: int
) -> None:
    machine = make(netdev=[NETDEV], device=[NIC])
    await machine.build()
    netdev = machine.net.netdevs["net0"]
    assert isinstance(netdev, MemoryNetdev)

    machine.net.announce_self(AnnounceParameters(rounds=1), interfaces)
    passed = asyncio.Event()
    context.schedule_oneshot(passed.set)
    await passed.wait()

    assert [frame[6:14] for frame in netdev.frames] == [bytes.fromhex("5254001234568035")] * count


async def test_announce_self_again_takes_the_place_of_the_first(make: Make) -> None:
    machine = make(netdev=[NETDEV], device=[NIC])
    await machine.build()
    patient = AnnounceParameters(initial=100_000, max=100_000)

    for id in ("", "", "other"):
        machine.net.announce_self(patient, id=id)

    assert len(machine.net._announcers) == 2


async def test_pause_keeps_frames_back_until_the_machine_goes_on(make: Make) -> None:
    machine = make("1: wfi; j 1b", netdev=[NETDEV], device=[NIC])
    await machine.build()
    machine.start()
    nic = machine.devices["nic0"]
    assert isinstance(nic, VirtioNet)
    quiet = []

    await machine.pause()
    quiet.append([queue._quiesced for queue in nic.queues])
    machine.resume()
    assert machine._resuming is not None
    await machine._resuming
    quiet.append([queue._quiesced for queue in nic.queues])

    assert quiet == [[1, 1, 1], [0, 0, 0]]


async def test_close_while_paused_unplugs_the_card(make: Make) -> None:
    machine = make("1: wfi; j 1b", netdev=[NETDEV], device=[NIC])
    await machine.build()
    machine.start()
    await machine.pause()

    await machine.close()

    assert machine.net.netdevs["net0"].peer is None


async def test_reset_of_the_machine_keeps_the_link(make: Make) -> None:
    machine = make("1: wfi; j 1b", iothread=[{"id": "io0"}], netdev=[NETDEV], device=[{**NIC, "iothread": "io0"}])
    await machine.build()
    machine.start()

    await machine.reset()

    assert machine.net.netdevs["net0"].carrier


async def test_move_of_a_card_is_refused(make: Make) -> None:
    machine = make("1: wfi; j 1b", iothread=[{"id": "io0"}], netdev=[NETDEV], device=[NIC])
    await machine.build()
    machine.start()

    with pytest.raises(AsyncemuError, match=r"nic0: can't move to io0, as netdevs can't; set iothread in vm\.toml"):
        await machine.move_device("nic0", "io0")
