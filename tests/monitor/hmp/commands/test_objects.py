# SPDX-License-Identifier: GPL-2.0-or-later
"""Networks, chardevs, objects, devices and trace events by the human monitor."""

from __future__ import annotations

import pytest

from asyncemu.monitor.control import Control
from asyncemu.monitor.hmp.session import Session
from tests.monitor.hmp.conftest import Build


@pytest.fixture
async def rich(build: Build) -> Session:
    """A machine with a card on a user network, a ring buffer and an iothread."""
    machine = await build(
        netdev=[{"id": "net0", "type": "user"}],
        netfilter=[{"id": "f0", "type": "filter-dump", "netdev": "net0", "file": "dump.pcap"}],
        device=[{"driver": "virtio-net", "netdev": "net0", "id": "nic"}],
        chardev=[{"id": "ring", "backend": "ringbuf", "size": 64}],
        iothread=[{"id": "io0"}],
    )
    return Session(Control(machine))


# ---- networks


async def test_info_network_shows_a_card_its_netdev_and_filters(rich: Session) -> None:
    card, netdev, *filters = (await rich.run("info network")).splitlines()

    assert card.startswith("nic: index=0,type=nic,model=virtio-net-device,macaddr=")
    assert netdev == " \\ net0: index=0,type=user,net=10.0.2.0,restrict=off"
    assert filters == ["filters:", "  - f0: type=filter-dump"]


async def test_info_network_of_a_card_whose_netdev_is_gone(rich: Session) -> None:
    await rich.run("netdev_del net0")

    assert len((await rich.run("info network")).splitlines()) == 1


async def test_info_network_shows_hubs_and_what_is_plugged_in(build: Build) -> None:
    machine = await build(
        netdev=[
            {"id": "port0", "type": "hubport", "hubid": 0},
            {"id": "port1", "type": "hubport", "hubid": 0, "netdev": "out"},
            {"id": "port2", "type": "hubport", "hubid": 1},
            {"id": "out", "type": "user"},
        ],
        device=[{"driver": "virtio-net", "netdev": "port0", "id": "nic", "mac": "52:54:00:00:00:01"}],
    )
    session = Session(Control(machine))

    assert (await session.run("info network")).splitlines() == [
        "hub 0",
        " \\ port0: nic: index=0,type=nic,model=virtio-net-device,macaddr=52:54:00:00:00:01",
        " \\ port1: out: index=0,type=user,net=10.0.2.0,restrict=off",
        "hub 1",
        " \\ port2",
    ]


async def test_hostfwd_opens_and_closes_a_door(rich: Session) -> None:
    await rich.run("hostfwd_add tcp:127.0.0.1:0-:22")
    # The host has chosen a port.
    rule = f"tcp:127.0.0.1:{(await rich.run('info usernet')).splitlines()[-1].split()[3]}"

    texts = [await rich.run(f"hostfwd_remove {netdev}{rule}") for netdev in ("net0 ", "")]

    assert texts == [f"host forwarding rule for {rule} removed\n", f"host forwarding rule for {rule} not found\n"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("hostfwd_add nope tcp::0-:22", "unrecognized netdev id 'nope'\n"),
        ("hostfwd_add tcp::a-:22", "Invalid host forwarding rule 'tcp::a-:22' (Bad host port)\n"),
        ("hostfwd_remove x", "invalid format\n"),
    ],
)
async def test_hostfwd_wrong_is_refused_without_error(rich: Session, line: str, message: str) -> None:
    assert await rich.run(line) == message


async def test_info_usernet_shows_doors(rich: Session) -> None:
    await rich.run("hostfwd_add tcp:127.0.0.1:0-:22")

    title, heading, door = (await rich.run("info usernet")).splitlines()

    assert title == "Hub -1 (net0):"
    assert heading == "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ"
    assert door.split()[0] == "TCP[HOST_FORWARD]"
    assert len(door) == len(heading)


async def test_set_link_and_announce_self_are_done(rich: Session) -> None:
    lines = ["set_link nic off", "set_link nic on", "announce_self", "announce_self nic"]

    assert [await rich.run(line) for line in lines] == ["", "", "", ""]


# ---- chardevs


async def test_info_chardev_shows_what_they_are(rich: Session) -> None:
    assert await rich.run("info chardev") == "ring: filename=ringbuf\n"


async def test_ringbuf_read_shows_control_characters_as_numbers(rich: Session) -> None:
    await rich.machine.chardevs.ringbuf_write("ring", b"a\x1b[0m\\\x7f\n")

    assert await rich.run("ringbuf_read ring 64") == "a\\u001B[0m\\\\\\u007F\n\n"


# ---- objects and devices


async def test_info_iothreads_shows_parameters(rich: Session) -> None:
    thread = rich.machine.iothreads["io0"].thread_id

    assert await rich.run("info iothreads") == (
        f"io0:\n  thread_id={thread}\n  poll-max-ns=32768\n  poll-grow=0\n  poll-shrink=0\n  aio-max-batch=0\n"
    )


async def test_object_and_device_come_and_go(session: Session) -> None:
    lines = [
        "object_add iothread,id=io1",
        "netdev_add user,id=n1",
        "device_add virtio-net-device,id=nic1,netdev=n1",
        "device_del nic1",
        "netdev_del n1",
        "object_del io1",
    ]

    # The guest has never run: the board still takes devices.
    assert [await session.run(line) for line in lines] == [""] * len(lines)


async def test_device_add_wrong_value_is_refused(session: Session) -> None:
    assert "Error: " in await session.run("device_add virtio-blk,drive=nope")


async def test_qom_set_reads_what_a_value_looks_like(rich: Session) -> None:
    assert await rich.run("qom-set /objects/io0 poll-max-ns 1234") == ""
    assert await rich.run("qom-get /objects/io0 poll-max-ns") == "1234\n"


async def test_qom_set_json_that_is_none_is_refused(rich: Session) -> None:
    text = await rich.run("qom-set -j /objects/io0 poll-max-ns {")

    assert text.startswith("Error: JSON parse error: ")


async def test_qom_list_shows_names_and_types(rich: Session) -> None:
    assert "poll-max-ns (int)\n" in await rich.run("qom-list /objects/io0")


async def test_info_qom_tree_shows_what_is_inside(rich: Session) -> None:
    lines = (await rich.run("info qom-tree")).splitlines()

    assert lines[0] == "/machine (virt-machine)"
    assert lines[lines.index("  /peripheral (container)") + 1] == "    /nic (virtio-net-device)"


async def test_info_qom_tree_of_a_path_begins_there(rich: Session) -> None:
    assert (await rich.run("info qom-tree /objects")).splitlines()[:2] == ["/objects (container)", "  /io0 (iothread)"]


async def test_info_qom_tree_of_no_path_is_an_error(rich: Session) -> None:
    assert await rich.run("info qom-tree /nope") == "Error: Device '/nope' not found\n"


async def test_info_qtree_shows_devices_on_their_buses_with_their_options(rich: Session) -> None:
    text = await rich.run("info qtree")

    assert '    bus: virtio-mmio-bus.0\n      type virtio-mmio-bus\n      dev: virtio-net, id "nic"\n' in text
    assert '        netdev = "net0"\n' in text
    assert '  dev: goldfish-rtc, id "rtc"\n    mmio 0000000000101000/0000000000001000\n' in text


# ---- trace events


async def test_trace_event_is_switched_on_and_off(session: Session) -> None:
    first = (await session.run("info trace-events")).split(" : ")[0].splitlines()[-1]

    states = []
    for state in ("on", "off"):
        assert await session.run(f"trace-event {first} {state}") == ""
        states.append(await session.run(f"info trace-events {first}"))

    assert states == [f"{first} : state 1\n", f"{first} : state 0\n"]


async def test_trace_event_that_is_none_is_named(session: Session) -> None:
    assert await session.run("trace-event nope on") == 'unknown event "nope"\n'
    assert await session.run("info trace-events nope") == 'unknown event "nope"\n'
