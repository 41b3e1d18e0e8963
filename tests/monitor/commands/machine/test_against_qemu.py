# SPDX-License-Identifier: GPL-2.0-or-later
"""The same commands to QEMU and to ours: the same replies.

What we do and QEMU does not is elsewhere: a virtio-mmio slot that takes a device before the guest has run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from asyncemu.monitor.errors import QmpError
from tests.monitor.commands.machine.conftest import Commander, Start
from tests.monitor.commands.storage.qemu import Commands, ask_qemu, needs_qemu

pytestmark = needs_qemu

TABLES: dict[str, Any] = {
    "iothread": [{"id": "io0"}],
    "chardev": [{"id": "c0", "backend": "null"}],
    "blockdev": [{"driver": "null-co", "node-name": name} for name in ("d0", "d1")],
    "device": [
        {"driver": "virtio-blk", "id": "blk0", "drive": "d0"},
        {"driver": "virtio-rng"},
        {"driver": "virtio-console", "id": "vs0", "max-ports": 31},
    ],
}
QEMU = (
    *("-bios", "none", "-serial", "null", "-object", "iothread,id=io0", "-chardev", "null,id=c0"),
    *("-blockdev", "null-co,node-name=d0", "-blockdev", "null-co,node-name=d1"),
    *("-device", "virtio-blk-device,drive=d0,id=blk0", "-device", "virtio-rng-device"),
    *("-device", "virtio-serial-device,id=vs0"),
)
RUNNING: Commands = [
    ("query-status", {}),
    *(
        (command, {})
        for each in ("cont", "cont", "stop", "stop", "system_reset", "cont", "system_powerdown", "system_reset")
        for command in (each, "query-status")
    ),
    ("stop", {}),
    ("set-action", {}),
    ("set-action", {"reboot": "x"}),
    ("set-action", {"reboot": "shutdown", "shutdown": "pause", "panic": "none"}),
    ("system_reset", {}),
    ("query-status", {}),
]
QUERIES: Commands = [
    ("query-target", {}),
    ("query-current-machine", {}),
    ("query-hotpluggable-cpus", {}),
    ("inject-nmi", {}),
    ("query-memory-size-summary", {}),
    ("query-memory-devices", {}),
    ("query-dump", {}),
    ("query-yank", {}),
    ("yank", {"instances": [{"type": "chardev", "id": "c0"}]}),
    ("yank", {"instances": [{"type": "block-node", "node-name": "zz"}]}),
    ("yank", {"instances": [{"type": "migration"}]}),
    ("yank", {"instances": [{"type": "zz"}]}),
    ("yank", {"instances": []}),
    ("yank", {}),
    ("trace-event-get-state", {"name": "nope"}),
    ("trace-event-get-state", {"name": "nope*"}),
    ("trace-event-get-state", {"name": "nope", "vcpu": 3}),
    ("trace-event-set-state", {"name": "nope", "enable": True}),
    ("trace-event-set-state", {"name": "nope", "enable": True, "ignore-unavailable": True}),
    ("trace-event-set-state", {"name": "nope"}),
    ("memsave", {"val": 16, "size": 16, "filename": "{tmp}/m"}),
    ("memsave", {"val": 0x80000000, "size": 16, "filename": "/nonexistent/m"}),
    ("memsave", {"val": 0x80000000, "size": 16, "filename": "{tmp}/m", "cpu-index": 7}),
    ("pmemsave", {"val": 0x80000000, "size": 16, "filename": "/nonexistent/m"}),
    ("pmemsave", {"val": 0x80000000, "size": 16, "filename": "{tmp}/m"}),
    ("dump-guest-memory", {"paging": False, "protocol": "zz:"}),
    ("dump-guest-memory", {"paging": False, "protocol": "fd:fd9"}),
    ("dump-guest-memory", {"paging": False, "protocol": "file:/nonexistent/x"}),
    ("dump-guest-memory", {"paging": False, "protocol": "file:{tmp}/core", "begin": 5}),
    ("dump-guest-memory", {"paging": False, "protocol": "file:{tmp}/core", "length": 5}),
    ("dump-guest-memory", {"paging": False, "protocol": "file:{tmp}/core", "begin": 5, "length": 3}),
    ("dump-guest-memory", {"paging": True, "protocol": "file:{tmp}/core", "format": "kdump-zlib"}),
    ("dump-guest-memory", {"protocol": "file:{tmp}/core"}),
    ("dump-guest-memory", {"paging": True, "protocol": "file:{tmp}/core", "begin": 0x80000000, "length": 4096}),
    ("query-dump", {}),
]
QOM: Commands = [
    *(
        ("qom-list", {"path": path})
        for path in ("/objects/io0", "/nope", "machine/nope", "", "/machine/peripheral/x/y")
    ),
    *(
        ("qom-get", {"path": path, "property": name})
        for path, name in (
            ("/objects/io0", "poll-max-ns"),
            ("/objects/io0", "nope"),
            ("/objects/io0", "type"),
            ("io0", "aio-max-batch"),
            ("/nope", "x"),
            ("/", "machine"),
            ("/machine", "type"),
            ("/machine", "kernel"),
            ("/machine", "peripheral"),
            ("/machine/peripheral/blk0", "type"),
            ("/machine/peripheral/blk0", "drive"),
            ("/machine/peripheral/blk0", "iothread"),
            ("/machine/peripheral/blk0", "serial"),
            ("/machine/peripheral/blk0", "logical_block_size"),
            ("/machine/peripheral/blk0", "realized"),
            ("/machine/peripheral/blk0", "hotplugged"),
            ("/machine/peripheral-anon/device[0]", "type"),
            ("/machine/peripheral/vs0", "type"),
            ("/chardevs/c0", "type"),
        )
    ),
    *(
        ("qom-set", {"path": path, "property": name, "value": value})
        for path, name, value in (
            ("/objects/io0", "poll-max-ns", 5),
            ("/objects/io0", "poll-max-ns", "x"),
            ("/objects/io0", "nope", 1),
            ("/objects/io0", "type", "x"),
            ("/objects/io0", "thread-pool-min", 65),
            ("/machine/peripheral/blk0", "type", "x"),
            ("/machine/peripheral/blk0", "serial", "x"),
            ("/nope", "serial", "x"),
        )
    ),
    ("qom-get", {"path": "/objects/io0", "property": "poll-max-ns"}),
    ("qom-list-types", {"implements": "zz"}),
    ("qom-list-types", {"implements": "iothread"}),
    ("qom-list-properties", {"typename": "zz"}),
    ("device-list-properties", {"typename": "iothread"}),
    ("device-list-properties", {"typename": "zz"}),
]
DEVICES: Commands = [
    *(
        ("device_add", arguments)
        for arguments in (
            {"driver": "nope"},
            {},
            {"driver": "iothread"},
            {"driver": "virtio-device"},
            {"driver": "virtio-rng-device", "id": "1x"},
            {"driver": "virtio-rng-device", "bus": "zz"},
            {"driver": "virtserialport", "chardev": "c0", "id": "p0", "name": "org.x"},
            {"driver": "virtserialport", "chardev": "c0", "id": "p1"},
            {"driver": "virtserialport", "chardev": "zz", "id": "p1"},
            {"driver": "virtserialport", "id": "p3", "nr": 1},
            {"driver": "virtserialport", "id": "p4", "nr": 77},
            {"driver": "virtserialport", "id": "p5", "name": "org.x"},
            {"driver": "virtserialport", "id": "p0"},
            {"driver": "virtserialport", "id": "p6", "zz": 1},
            {"driver": "virtserialport", "id": "p7", "bus": "vs0.0", "nr": 9},
        )
    ),
    ("qom-get", {"path": "/machine/peripheral/p0", "property": "nr"}),
    ("qom-get", {"path": "/machine/peripheral/p7", "property": "type"}),
    ("device_del", {"id": "p0"}),
    ("device_del", {"id": "nope"}),
    ("device_del", {"id": "/machine/unattached"}),
]
CHARDEVS: Commands = [
    ("query-chardev-backends", {"x": 1}),
    *(
        ("chardev-add", {"id": id, "backend": backend})
        for id, backend in (
            ("c0", {"type": "null", "data": {}}),
            ("c9", {"type": "null", "data": {}}),
            ("x", {"type": "zz", "data": {}}),
            ("x", {"type": "null"}),
            ("x", {"data": {}}),
            ("x", {"type": "file", "data": {}}),
            ("x", {"type": "file", "data": {"out": 1}}),
            ("r", {"type": "ringbuf", "data": {"size": 8}}),
        )
    ),
    ("ringbuf-write", {"device": "r", "data": "hello"}),
    ("ringbuf-read", {"device": "r", "size": 3}),
    ("ringbuf-read", {"device": "r", "size": 0}),
    ("ringbuf-read", {"device": "zz", "size": 3}),
    ("ringbuf-read", {"device": "c0", "size": 3}),
    ("ringbuf-write", {"device": "r", "data": "aGVsbG8=", "format": "base64"}),
    ("ringbuf-read", {"device": "r", "size": 30, "format": "base64"}),
    ("ringbuf-write", {"device": "r", "data": "!!", "format": "base64"}),
    ("chardev-remove", {"id": "r"}),
    ("chardev-remove", {"id": "zz"}),
    ("chardev-send-break", {"id": "zz"}),
    ("chardev-send-break", {"id": "c0"}),
    ("chardev-change", {"id": "zz", "backend": {"type": "null", "data": {}}}),
]


async def ask_ours(vm: Commander, commands: Commands) -> list[dict[str, Any]]:
    """Our replies."""
    replies: list[dict[str, Any]] = []
    for name, arguments in commands:
        try:
            replies.append({"return": await vm.control.execute(name, arguments)})
        except QmpError as error:
            replies.append({"error": error.to_wire()})
    return replies


async def differences(start: Start, commands: Commands, tmp_path: Path) -> list[tuple[Any, Any, Any]]:
    """(Command, our reply, QEMU's) where these are not the same."""
    vm = await start(machine={"memory": "128MiB"}, **TABLES)
    commands = json.loads(json.dumps(commands).replace("{tmp}", str(tmp_path)))
    theirs = await ask_qemu(commands, *QEMU)
    ours = await ask_ours(vm, commands)
    compared = zip(commands, map(in_order, ours), map(in_order, theirs), strict=True)
    return [(command, our, their) for command, our, their in compared if our != their]


def in_order(reply: dict[str, Any]) -> dict[str, Any]:
    """A list of named things has no order of its own."""
    result = reply.get("return")
    if isinstance(result, list):
        return {"return": sorted(result, key=lambda each: str(each.get("name", each)))}
    return reply


async def test_running_and_stopping_is_as_in_qemu(start: Start, tmp_path: Path) -> None:
    assert await differences(start, RUNNING, tmp_path) == []


async def test_queries_memory_dump_yank_and_tracing_are_as_in_qemu(start: Start, tmp_path: Path) -> None:
    assert await differences(start, QUERIES, tmp_path) == []


async def test_tree_of_objects_is_as_in_qemu(start: Start, tmp_path: Path) -> None:
    assert await differences(start, QOM, tmp_path) == []


async def test_devices_in_and_out_are_as_in_qemu(start: Start, tmp_path: Path) -> None:
    assert await differences(start, DEVICES, tmp_path) == []


async def test_chardevs_are_as_in_qemu(start: Start, tmp_path: Path) -> None:
    assert await differences(start, CHARDEVS, tmp_path) == []
