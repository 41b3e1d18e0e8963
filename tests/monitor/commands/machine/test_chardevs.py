# SPDX-License-Identifier: GPL-2.0-or-later
"""Chardevs by commands."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.monitor.commands.machine.conftest import Commander, Start


@pytest.fixture
async def vm(start: Start) -> Commander:
    return await start(chardev=[{"id": "c0", "backend": "null"}], machine={"serial": "c0"})


def backend(kind: str, **data: Any) -> dict[str, Any]:
    """As QMP has it."""
    return {"type": kind, "data": data}


def unix(path: Path) -> dict[str, Any]:
    """An address."""
    return {"type": "unix", "data": {"path": str(path)}}


async def test_query_chardev_tells_where_it_leads_and_who_has_it(vm: Commander) -> None:
    await vm("chardev-add", id="c1", backend=backend("null"))

    assert await vm("query-chardev") == [
        {"label": "c0", "filename": "null", "frontend-open": True},
        {"label": "c1", "filename": "null", "frontend-open": False},
    ]


async def test_query_chardev_backends_has_all_of_vm_toml(vm: Commander) -> None:
    names = {each["name"] for each in await vm("query-chardev-backends")}

    assert names >= {"file", "null", "pty", "ringbuf", "socket", "stdio"}


async def test_chardev_add_pty_names_the_terminal(vm: Commander) -> None:
    result = await vm("chardev-add", id="term", backend=backend("pty"))

    assert Path(result["pty"]).is_char_device()


async def test_chardev_add_file_writes_it(vm: Commander, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before ")
    await vm("chardev-add", id="log", backend=backend("file", out=str(tmp_path / "log"), append=True))
    vm.machine.chardevs["log"].write(b"after")
    await vm("chardev-remove", id="log")

    assert (tmp_path / "log").read_bytes() == b"before after"


async def test_chardev_add_file_reads_from_the_other_one(vm: Commander, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"typed")
    data = {"out": str(tmp_path / "out"), "in": str(tmp_path / "in"), "logfile": str(tmp_path / "log")}
    await vm("chardev-add", id="log", backend={"type": "file", "data": data})

    options = vm.machine.chardevs["log"].options
    assert (options.input_path, options.logfile) == (tmp_path / "in", tmp_path / "log")


async def test_chardev_add_socket_listens_and_does_not_wait(vm: Commander, tmp_path: Path) -> None:
    await vm("chardev-add", id="s", backend=backend("socket", addr=unix(tmp_path / "s.sock")))

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s.sock"))
    assert (await vm("query-chardev"))[1]["filename"] == f"disconnected:unix:{tmp_path}/s.sock,server=on"


async def test_chardev_add_socket_connects(vm: Commander, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.sock"))
        server.listen()
        await vm("chardev-add", id="s", backend=backend("socket", addr=unix(tmp_path / "s.sock"), server=False))

    assert vm.machine.chardevs["s"].opened


async def test_chardev_add_tcp_and_udp_take_ports_as_text(vm: Commander) -> None:
    inet = {"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}
    peer = {"type": "inet", "data": {"host": "127.0.0.1", "port": "9"}}

    await vm("chardev-add", id="tcp", backend=backend("socket", addr=inet, telnet=True))
    await vm("chardev-add", id="udp", backend=backend("udp", remote=peer, local=inet))

    assert vm.machine.chardevs["tcp"].options.port == 0
    assert vm.machine.chardevs["udp"].options.localaddr == "127.0.0.1"


async def test_chardev_change_keeps_the_front_end(vm: Commander, tmp_path: Path) -> None:
    await vm("chardev-change", id="c0", backend=backend("file", out=str(tmp_path / "log")))

    assert (await vm("query-chardev"))[0]["frontend-open"] is True
    assert vm.machine.chardevs["c0"].name == "file"


async def test_ringbuf_gives_what_was_written_last(vm: Commander) -> None:
    await vm("chardev-add", id="r", backend=backend("ringbuf", size=8))
    await vm("ringbuf-write", device="r", data="hello")
    first = await vm("ringbuf-read", device="r", size=3)
    await vm("ringbuf-write", device="r", data="aGVsbG8=", format="base64")

    assert first == "hel"
    assert await vm("ringbuf-read", device="r", size=30, format="base64") == "bG9oZWxsbw=="


async def test_ringbuf_read_what_is_no_utf8_is_replaced(vm: Commander) -> None:
    await vm("chardev-add", id="r", backend=backend("memory", size=8))
    await vm("ringbuf-write", device="r", data="/2E=", format="base64")

    assert await vm("ringbuf-read", device="r", size=8) == "\ufffda"


async def test_chardev_send_break_is_heard(vm: Commander) -> None:
    assert await vm("chardev-send-break", id="c0") == {}


@pytest.mark.parametrize(
    ("command", "arguments", "description"),
    [
        ("chardev-add", {"id": "c0", "backend": backend("null")}, "Chardev with id 'c0' already exists"),
        ("chardev-add", {"id": "9c", "backend": backend("null")}, "Parameter 'id' expects an identifier"),
        ("chardev-add", {"id": "x", "backend": backend("zz")}, "Parameter 'type' does not accept value 'zz'"),
        ("chardev-add", {"id": "x", "backend": {"type": "null"}}, "Parameter 'backend.data' is missing"),
        ("chardev-add", {"id": "x", "backend": backend("null", zz=1)}, "Parameter 'backend.data.zz' is unexpected"),
        ("chardev-add", {"id": "x", "backend": backend("file")}, "Parameter 'backend.data.out' is missing"),
        ("chardev-remove", {"id": "zz"}, "Chardev 'zz' not found"),
        ("chardev-remove", {"id": "c0"}, "Chardev 'c0' is busy"),
        ("chardev-send-break", {"id": "zz"}, "Chardev 'zz' not found"),
        ("chardev-change", {"id": "zz", "backend": backend("null")}, "Chardev 'zz' does not exist"),
        ("ringbuf-read", {"device": "zz", "size": 3}, "Device 'zz' not found"),
        ("ringbuf-read", {"device": "c0", "size": 3}, "c0 is not a ringbuf device"),
        ("ringbuf-read", {"device": "c0", "size": 0}, "size must be greater than zero"),
        ("ringbuf-write", {"device": "c0", "data": "x"}, "c0 is not a ringbuf device"),
        ("ringbuf-write", {"device": "c0", "data": "!", "format": "base64"}, "Base64 data contains invalid characters"),
    ],
)
async def test_command_that_can_t_be_done_is_refused(
    vm: Commander, command: str, arguments: dict[str, Any], description: str
) -> None:
    assert await vm.refusal(command, **arguments) == ("GenericError", description)


@pytest.mark.parametrize("command", ["chardev-add", "chardev-change"])
async def test_chardev_that_can_t_be_opened_is_refused(vm: Commander, command: str) -> None:
    id = "c0" if command == "chardev-change" else "x"

    said, description = await vm.refusal(command, id=id, backend=backend("file", out="/nonexistent/z"))

    assert said == "GenericError"
    assert description.startswith(f"Failed to add chardev '{id}': ")
    assert description.endswith(os.strerror(2))
    assert list(vm.machine.chardevs) == ["c0"]
