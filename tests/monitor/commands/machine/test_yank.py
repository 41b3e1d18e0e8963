# SPDX-License-Identifier: GPL-2.0-or-later
"""yank and query-yank."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.errors import BlockError
from asyncemu.memory import Buffers
from asyncemu.monitor.command import find
from tests.block.nbd.fake_server import FakeServer
from tests.monitor.commands.machine.conftest import Commander, Start

NODE = {"type": "block-node", "node-name": "disk0"}
CHARDEV = {"type": "chardev", "id": "s0"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeServer]:
    """It answers nothing."""
    server = FakeServer(tmp_path / "nbd.sock")
    yield server
    server.stop()


@pytest.fixture
async def vm(start: Start, server: FakeServer) -> Commander:
    accepting = asyncio.ensure_future(server.accept())
    disk = {"driver": "nbd", "node-name": "disk0", "export": "disk", "reconnect-delay": 100}
    vm = await start(
        blockdev=[{**disk, "server": {"type": "unix", "path": str(server.path)}}],
        chardev=[{"id": "s0", "backend": "socket", "path": "s0.sock", "server": True, "wait": False}],
    )
    await accepting
    return vm


async def test_query_yank_has_sockets_and_nbd_nodes(vm: Commander) -> None:
    assert await vm("query-yank") == [CHARDEV, NODE]


async def test_yank_node_fails_what_hangs(vm: Commander) -> None:
    reading = asyncio.ensure_future(vm.machine.block.nodes["disk0"].preadv(0, Buffers([memoryview(bytearray(512))])))
    await asyncio.sleep(0)

    await vm("yank", instances=[NODE])

    with pytest.raises((BlockError, OSError)):
        await reading


async def test_yank_chardev_hangs_up_on_its_client(vm: Commander, tmp_path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(tmp_path / "s0.sock")
    while not vm.machine.chardevs["s0"].opened:
        await asyncio.sleep(0)

    await vm("yank", instances=[CHARDEV])

    assert await reader.read() == b""
    writer.close()


async def test_yank_of_nothing_is_well(vm: Commander) -> None:
    assert await vm("yank", instances=[]) == {}


@pytest.mark.parametrize("name", ["yank", "query-yank"])
def test_yank_may_come_out_of_band(name: str) -> None:
    found = find(name)

    assert found is not None
    assert found.allow_oob


@pytest.mark.parametrize(
    "instance",
    [
        {"type": "chardev", "id": "zz"},
        {"type": "block-node", "node-name": "zz"},
        {"type": "block-node", "node-name": "s0"},
        {"type": "migration"},
    ],
)
async def test_yank_what_is_not_there_yanks_nothing(vm: Commander, instance: dict[str, Any]) -> None:
    assert await vm.refusal("yank", instances=[NODE, instance]) == ("DeviceNotFound", "Instance not found")
    assert await vm("query-yank") == [CHARDEV, NODE]
