# SPDX-License-Identifier: GPL-2.0-or-later
"""object-add and object-del: of each type one that works, who is in use stays, and QEMU's words for what is wrong."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.monitor.commands.storage.conftest import Command
from tests.monitor.commands.storage.qemu import ask_qemu, needs_qemu

NULL = {"driver": "null-co", "size": 1 << 20}
BLK = {"driver": "virtio-blk", "id": "blk0", "drive": "disk0"}


def add(kind: str, id: str = "o", **more: Any) -> tuple[str, dict[str, Any]]:
    return "object-add", {"qom-type": kind, "id": id, **more}


def delete(id: str) -> tuple[str, dict[str, Any]]:
    return "object-del", {"id": id}


# ---- iothread


async def test_iothread_added_runs_with_its_parameters_and_ends_with_its_object(command: Command) -> None:
    vm = await command()
    await vm.ask("object-add", qom_type="iothread", id="io0", poll_max_ns=5000)
    iothread = vm.machine.iothreads["io0"]
    running, parameters = iothread.running, iothread.parameters

    await vm.ask("object-del", id="io0")

    assert (running, parameters.poll_max_ns) == (True, 5000)
    assert (iothread.running, vm.machine.iothreads) == (False, {})


async def test_iothread_of_a_device_that_has_moved_there_stays(command: Command) -> None:
    vm = await command(blockdev=[{"node-name": "disk0", **NULL}], device=[BLK])
    await vm.ask("object-add", qom_type="iothread", id="io0")
    await vm.machine.move_device("blk0", "io0")

    assert await vm.error("object-del", id="io0") == ("GenericError", "object 'io0' is in use, can not be deleted")


async def test_iothread_that_an_option_of_a_device_names_stays(command: Command) -> None:
    vm = await command(
        iothread=[{"id": "io0"}],
        blockdev=[{"node-name": "disk0", **NULL}],
        device=[{**BLK, "iothread-vq-mapping": [{"iothread": "io0"}]}],
    )
    await vm.machine.move_device("blk0")

    assert await vm.error("object-del", id="io0") == ("GenericError", "object 'io0' is in use, can not be deleted")


async def test_iothread_where_only_nodes_are_left_gives_them_to_the_main_loop(command: Command) -> None:
    vm = await command(iothread=[{"id": "io0"}], blockdev=[{"node-name": "disk0", **NULL}])
    node = vm.machine.block.nodes["disk0"]
    await vm.ask("nbd-server-start", addr={"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}})
    await vm.ask("block-export-add", type="nbd", id="e", node_name="disk0", iothread="io0")
    used = await vm.error("object-del", id="io0")
    await vm.ask("block-export-del", id="e")

    await vm.ask("object-del", id="io0")

    assert used == ("GenericError", "object 'io0' is in use, can not be deleted")
    assert node.context is vm.machine.context


async def test_iothread_added_later_is_closed_behind_who_lives_there(command: Command) -> None:
    vm = await command(blockdev=[{"node-name": "disk0", **NULL}], device=[BLK])
    await vm.ask("object-add", qom_type="iothread", id="io0")
    await vm.machine.move_device("blk0", "io0")
    iothread = vm.machine.iothreads["io0"]

    await vm.machine.close()

    assert not iothread.running


async def test_two_of_one_name_at_once_are_one(command: Command) -> None:
    vm = await command()

    adding = [asyncio.create_task(vm.reply(*add("iothread", "io0"))) for _ in range(2)]
    replies = await asyncio.gather(*adding)

    assert sorted("error" in reply for reply in replies) == [False, True]
    assert list(vm.machine.iothreads) == ["io0"]


async def test_two_deletions_at_once_are_one(command: Command) -> None:
    vm = await command(iothread=[{"id": "io0"}])

    replies = await asyncio.gather(*(asyncio.create_task(vm.reply(*delete("io0"))) for _ in range(2)))

    assert sorted("error" in reply for reply in replies) == [False, True]


# ---- throttle-group


async def test_throttle_group_limits_the_nodes_that_join_it(command: Command) -> None:
    vm = await command()
    await vm.ask("object-add", qom_type="throttle-group", id="tg", limits={"iops-total": 10})

    await vm.ask("blockdev-add", driver="throttle", node_name="t", throttle_group="tg", file=NULL)

    assert vm.machine.objects.types()["throttle-group"].properties("tg")["limits"]["iops-total"] == 10
    assert await vm.error("object-del", id="tg") == ("GenericError", "object 'tg' is in use, can not be deleted")


async def test_throttle_group_older_properties_are_limits(command: Command) -> None:
    vm = await command()

    await vm.ask("object-add", qom_type="throttle-group", id="tg", x_bps_read=7, limits={"bps-write": 9})

    limits = vm.machine.objects.types()["throttle-group"].properties("tg")["limits"]
    assert (limits["bps-read"], limits["bps-write"]) == (7, 9)


# ---- secret, tls-creds-x509, main-loop


async def test_secret_is_there_for_block_nodes(command: Command, tmp_path: Path) -> None:
    vm = await command()
    (tmp_path / "password").write_text("aGVsbG8=")

    await vm.ask("object-add", qom_type="secret", id="s0", file=str(tmp_path / "password"), format="base64")

    assert vm.machine.block.secrets == {"s0": b"hello"}


async def test_main_loop_gets_the_parameters_and_keeps_them(command: Command) -> None:
    vm = await command()

    await vm.ask("object-add", qom_type="main-loop", id="m", aio_max_batch=3, thread_pool_max=5)

    assert (vm.machine.context.aio_max_batch, vm.machine.context.worker_pool.max_threads) == (3, 5)


# ---- filters


async def test_filter_added_to_a_netdev_is_on_its_link_until_it_is_deleted(command: Command, tmp_path: Path) -> None:
    vm = await command(netdev=[{"id": "n0", "type": "null"}], device=[{"driver": "virtio-net", "netdev": "n0"}])
    netdev = vm.machine.net.netdevs["n0"]
    await vm.ask("object-add", qom_type="filter-dump", id="f0", netdev="n0", file=str(tmp_path / "f.pcap"))
    on = netdev.first_filter

    await vm.ask("object-del", id="f0")

    assert on is not None
    assert (netdev.first_filter, vm.machine.net.filters) == (None, {})


async def test_filter_of_another_position_is_between_the_others(command: Command) -> None:
    vm = await command(netdev=[{"id": "n0", "type": "null"}])
    for id, position in (("a", "tail"), ("b", "tail"), ("c", "id=b")):
        await vm.ask(
            "object-add",
            qom_type="filter-rewriter",
            id=id,
            netdev="n0",
            position=position,
            insert="before",
        )

    assert vm.machine.objects.all() == [("a", "filter-rewriter"), ("b", "filter-rewriter"), ("c", "filter-rewriter")]
    assert vm.machine.net.order("n0") == ["a", "c", "b"]


async def test_filter_whose_chardev_is_taken_is_refused_and_leaves_nothing(command: Command) -> None:
    vm = await command(
        netdev=[{"id": "n0", "type": "null"}],
        chardev=[{"id": "c0", "backend": "null"}],
        netfilter=[{"id": "f0", "type": "filter-mirror", "netdev": "n0", "outdev": "c0"}],
    )

    found = await vm.error("object-add", qom_type="filter-mirror", id="f1", netdev="n0", outdev="c0")

    assert found[0] == "GenericError"
    assert (list(vm.machine.net.filters), vm.machine.net.order("n0")) == (["f0"], ["f0"])


async def test_filter_of_a_chardev_that_lives_elsewhere_is_refused(command: Command) -> None:
    vm = await command(
        iothread=[{"id": "io0"}],
        netdev=[{"id": "n0", "type": "null"}],
        device=[{"driver": "virtio-net", "netdev": "n0", "iothread": "io0"}],
        chardev=[{"id": "c0", "backend": "null"}],
    )

    found = await vm.error("object-add", qom_type="filter-mirror", id="f0", netdev="n0", outdev="c0")

    assert found == ("GenericError", "chardev 'c0' and netdev 'n0' live in different threads")


# ---- what vm.toml has


async def test_objects_of_the_configuration_are_among_them(command: Command) -> None:
    vm = await command(
        iothread=[{"id": "io0"}],
        netdev=[{"id": "n0", "type": "null"}],
        netfilter=[{"id": "f0", "type": "filter-buffer", "netdev": "n0", "interval": 1000}],
        **{"throttle-group": [{"id": "tg", "limits": {"iops-total": 10}}]},
    )

    found = dict(vm.machine.objects.all())

    assert found == {"io0": "iothread", "f0": "filter-buffer", "tg": "throttle-group"}
    assert await vm.error("object-add", qom_type="secret", id="tg", data="x") == (
        "GenericError",
        "attempt to add duplicate property 'tg' to object (type 'container')",
    )


# ---- QEMU's words

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
IV = "AAECAwQFBgcICQoLDA0ODw=="

SAME_ANSWERS = [
    add("iothread", "io0"),
    add("iothread", "io0"),
    add("secret", "io0", data="x"),
    add("iothread", "0bad"),
    add("iothread", ""),
    add("iothread", "x", bogus=1),
    add("iothread", "x", **{"poll-max-ns": "5"}),
    add("iothread", "x", **{"poll-max-ns": 2.5}),
    add("iothread", "x", **{"poll-max-ns": True}),
    add("iothread", "x", **{"poll-max-ns": []}),
    add("nonsense", "x"),
    ("object-add", {"qom-type": "iothread"}),
    ("object-add", {"id": "x"}),
    ("object-add", {"qom-type": 5, "id": "x"}),
    ("object-add", {"qom-type": "iothread", "id": 5}),
    delete("zzz"),
    ("object-del", {}),
    ("object-del", {"id": 5}),
    ("object-del", {"id": "io0", "bogus": 1}),
    add("throttle-group", "tg", limits={"iops-total": 10}),
    add("throttle-group", "tg", limits={"iops-total": 10}),
    add("throttle-group", "x", limits={"iops-total": 10, "iops-read": 5}),
    add("throttle-group", "x", limits={"bogus": 10}),
    add("throttle-group", "x", limits=7),
    ("blockdev-add", {"driver": "throttle", "node-name": "t", "throttle-group": "tg", "file": {"driver": "null-co"}}),
    delete("tg"),
    ("blockdev-del", {"node-name": "t"}),
    delete("tg"),
    add("secret", "s"),
    add("secret", "s", data="a", file="b"),
    add("secret", "s", file="/nonexistent"),
    add("secret", "s", data="!!", format="base64"),
    add("secret", "s", data="a", format="bogus"),
    add("secret", "s", data=1),
    delete("s"),
    add("secret", "k", data=KEY, format="base64"),
    add("secret", "short", data="abc"),
    add("secret", "s", data="abc", keyid="zz", iv="AAAA"),
    add("secret", "s", data="abc", keyid="k"),
    add("secret", "s", data="abc", keyid="k", iv="AAAA"),
    add("secret", "s", data="abc", keyid="k", iv=IV),
    add("secret", "s", data=IV, format="base64", keyid="k", iv=IV),
    add("secret", "s", data=IV, format="base64", keyid="short", iv=IV),
    add("secret", "s", data="!!", format="base64", keyid="k", iv=IV),
    add("secret", "s", data=IV, format="base64", keyid="k", iv="!!"),
    add("tls-creds-x509", "s", dir="/nonexistent", endpoint="client"),
    add("tls-creds-x509", "s", dir="/nonexistent", endpoint="bogus"),
    add("tls-creds-x509", "s", dir="/nonexistent", **{"verify-peer": "on"}),
    add("main-loop", "m"),
    add("main-loop", "m2"),
    delete("m"),
    add("filter-buffer", "f", netdev="zz", interval=100),
    add("filter-buffer", "f", netdev="h0"),
    add("filter-buffer", "f", netdev="h0", interval=100, position="bogus"),
    add("filter-buffer", "f", netdev="h0", interval=100, position="id=zz"),
    add("filter-buffer", "f", netdev="h0", interval=100, insert="bogus"),
    add("filter-mirror", "f", netdev="h0", outdev="zz"),
    add("filter-buffer", "f", netdev="h0", interval=100),
    add("filter-buffer", "f", netdev="h0", interval=100),
    delete("f"),
    delete("f"),
]


@needs_qemu
async def test_answers_are_qemus(command: Command) -> None:
    vm = await command(netdev=[{"id": "h0", "type": "hubport", "hubid": 0}])

    assert await vm.replies(SAME_ANSWERS) == await ask_qemu(SAME_ANSWERS, "-netdev", "hubport,id=h0,hubid=0")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"qom_type": "iothread", "poll_max_ns": -1}, "Parameter 'poll-max-ns'"),
        ({"qom_type": "iothread", "thread_pool_min": 5, "thread_pool_max": 2}, "thread-pool-min 5 is above"),
        ({"qom_type": "main-loop", "thread_pool_min": 5, "thread_pool_max": 2}, "bad thread-pool-min"),
        ({"qom_type": "throttle-group", "limits": {"iops-total": -1}}, "bps/iops/max values must be within"),
        ({"qom_type": "throttle-group", "limits": 3, "x_bps_read": 1}, "Invalid parameter type for 'limits'"),
        ({"qom_type": "filter-dump", "netdev": "n0", "file": "/nonexistent/f"}, "No such file or directory"),
        ({"qom_type": "filter-buffer", "netdev": "n0", "interval": 1, "status": "bogus"}, "'status' does not accept"),
        ({"qom_type": "filter-buffer", "netdev": "n0", "interval": 1, "position": "id=g"}, "a different netdev"),
    ],
)
async def test_add_what_is_wrong_is_one_line(command: Command, arguments: dict[str, Any], problem: str) -> None:
    vm = await command(netdev=[{"id": "n0", "type": "null"}, {"id": "n1", "type": "null"}])
    await vm.ask("object-add", qom_type="filter-buffer", id="g", netdev="n1", interval=1)

    error_class, found = await vm.error("object-add", id="o", **arguments)

    assert error_class == "GenericError"
    assert problem in found
    assert "\n" not in found
    assert vm.machine.objects.find("o") is None
