# SPDX-License-Identifier: GPL-2.0-or-later
"""Exports of a machine's nodes: served to a client that follows its own way, refused in QEMU 7.2's words."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph, move_nodes
from asyncemu.block.control.changes import blockdev_del
from asyncemu.block.control.errors import ControlError
from asyncemu.block.control.exports import BlockExports, ExportOptions
from asyncemu.block.nbd.address import InetAddress, UnixAddress
from asyncemu.loop import AioContext, IOThread
from tests.block.control.devices import Notes, plug
from tests.block.drivers import add, memory
from tests.block.nbd.peer import Peer


@pytest.fixture
async def graph(iothreads: list[IOThread], context: AioContext, tmp_path: Path) -> AsyncIterator[BlockGraph]:
    """Closed while the iothreads, where nodes may have gone, still run."""
    graph = BlockGraph(context, tmp_path)
    yield graph
    await graph.close()


@pytest.fixture
def notes(graph: BlockGraph) -> Notes:
    notes = Notes()
    graph.observer = notes
    return notes


@pytest.fixture
async def exports(graph: BlockGraph, notes: Notes, iothreads: list[IOThread]) -> AsyncIterator[BlockExports]:
    """With iothreads ``io0`` and ``io1``."""
    contexts = {f"io{number}": iothread.aio_context for number, iothread in enumerate(iothreads)}
    exports = BlockExports(graph, contexts.get)
    yield exports
    await exports.close()


async def started(exports: BlockExports, directory: Path) -> Path:
    path = directory / "nbd.sock"
    await exports.start(UnixAddress(str(path)))
    return path


def deleted(notes: Notes) -> list[str]:
    return [details["id"] for name, details in notes.calls if name == "export_deleted"]


# ---- the server


async def test_start_stop_leaves_no_socket_and_no_export(
    graph: BlockGraph, exports: BlockExports, notes: Notes, tmp_path: Path
) -> None:
    node = await add(graph, "memory", "d0")
    path = await started(exports, tmp_path)
    await exports.add(ExportOptions("e0", "d0"))
    await exports.add(ExportOptions("e1", "d0", name="other"))
    assert exports.query() == [
        {"id": "e1", "type": "nbd", "node-name": "d0", "shutting-down": False},
        {"id": "e0", "type": "nbd", "node-name": "d0", "shutting-down": False},
    ]
    await exports.stop()
    assert (exports.query(), deleted(notes), path.exists(), node.parents) == ([], ["e0", "e1"], False, [])


async def test_start_again_behind_stop_works(graph: BlockGraph, exports: BlockExports, tmp_path: Path) -> None:
    await started(exports, tmp_path)
    await exports.stop()
    path = await started(exports, tmp_path)
    assert path.is_socket()


async def test_start_twice_is_refused(exports: BlockExports, tmp_path: Path) -> None:
    await started(exports, tmp_path)
    with pytest.raises(ControlError, match=r"^NBD server already running$"):
        await started(exports, tmp_path)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (UnixAddress("/nonexistent/x"), "Failed to bind socket to /nonexistent/x: No such file or directory"),
        (
            InetAddress("127.0.0.1", "zz"),
            "address resolution failed for 127.0.0.1:zz: Servname not supported for ai_socktype",
        ),
    ],
)
async def test_start_at_a_bad_address_is_refused_in_qemus_words(
    exports: BlockExports, address: UnixAddress | InetAddress, words: str
) -> None:
    with pytest.raises(ControlError) as caught:
        await exports.start(address)
    assert str(caught.value) == words
    with pytest.raises(ControlError, match=r"^NBD server not running$"):
        await exports.stop()


async def test_start_without_its_credentials_is_refused(exports: BlockExports, tmp_path: Path) -> None:
    with pytest.raises(ControlError, match=r"^No TLS credentials with id 'nope'$"):
        await exports.start(UnixAddress(str(tmp_path / "s")), tls="nope")


# ---- adding


async def test_add_serves_a_program_that_we_did_not_write(
    graph: BlockGraph, exports: BlockExports, tmp_path: Path
) -> None:
    node = await add(graph, "memory", "d0", size=1 << 20)
    memory(node).data[:4] = b"here"
    path = await started(exports, tmp_path)
    await exports.add(ExportOptions("e0", "d0", name="disk", description="a disk"))
    copy = tmp_path / "copy.img"
    command = ["qemu-img", "convert", "-O", "raw", f"nbd+unix:///disk?socket={path}", str(copy)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    data = await asyncio.to_thread(copy.read_bytes)
    assert data[:4] == b"here"


async def test_add_writethrough_flushes_each_write(graph: BlockGraph, exports: BlockExports, tmp_path: Path) -> None:
    node = await add(graph, "memory", "d0")
    path = await started(exports, tmp_path)
    await exports.add(ExportOptions("e0", "d0", writable=True, writethrough=True))
    peer = await Peer.connect(path, b"d0")
    assert (await peer.do(1, 0, 512, data=bytes(512))).error == 0
    assert node.flushed_generation > 0


ADDS: dict[str, tuple[ExportOptions, str]] = {
    "bad id": (ExportOptions("1e", "d0", name="u"), "Invalid block export id"),
    "id taken": (ExportOptions("e0", "d0", name="u"), "Block export id 'e0' is already in use"),
    "name taken": (ExportOptions("e1", "d0", name="d0"), "NBD server already has export named 'd0'"),
    "no node": (ExportOptions("e1", "zz"), "Cannot find device='' nor node-name='zz'"),
    "read-only": (ExportOptions("e1", "ro", writable=True), "Cannot export read-only node as writable"),
    "no iothread": (ExportOptions("e1", "d0", name="u", iothread="zz"), 'iothread "zz" not found'),
    "fixed": (
        ExportOptions("e1", "d0", name="u", iothread="io0", fixed_iothread=True),
        "Cannot change iothread of active block backend",
    ),
    "long name": (ExportOptions("e1", "d0", name="x" * 5000), f"export name '{'x' * 5000}' too long"),
    "long text": (ExportOptions("e1", "d0", "u", "x" * 5000), f"description '{'x' * 5000}' too long"),
    "bitmap": (ExportOptions("e1", "d0", name="u", bitmaps=("bb",)), "Bitmap 'bb' is not found"),
}


@pytest.mark.parametrize(("options", "words"), ADDS.values(), ids=ADDS.keys())
async def test_add_refused_in_qemus_words(
    graph: BlockGraph, exports: BlockExports, tmp_path: Path, options: ExportOptions, words: str
) -> None:
    node = await add(graph, "memory", "d0")
    await plug(node)
    await add(graph, "memory", "ro", read_only=True)
    await started(exports, tmp_path)
    await exports.add(ExportOptions("e0", "d0"))
    with pytest.raises(ControlError) as caught:
        await exports.add(options)
    assert str(caught.value) == words
    assert [each["id"] for each in exports.query()] == ["e0"]
    assert len(node.parents) == 2


async def test_add_without_a_server_is_refused_and_leaves_nothing(graph: BlockGraph, exports: BlockExports) -> None:
    node = await add(graph, "memory", "d0")
    with pytest.raises(ControlError, match=r"^NBD server not running$"):
        await exports.add(ExportOptions("e0", "d0"))
    with pytest.raises(ControlError, match=r"^NBD server not running$"):
        await exports.nbd_server_add("d0")
    assert node.parents == []


async def test_nbd_server_add_of_a_read_only_node_is_read_only(
    graph: BlockGraph, exports: BlockExports, tmp_path: Path
) -> None:
    await add(graph, "memory", "ro", read_only=True)
    path = await started(exports, tmp_path)
    await exports.nbd_server_add("ro", writable=True)
    peer = await Peer.connect(path, b"ro")
    assert (await peer.do(0, 0, 512)).error == 0
    assert [each["id"] for each in exports.query()] == ["ro"]


async def test_nbd_server_add_takes_a_device(graph: BlockGraph, exports: BlockExports, tmp_path: Path) -> None:
    await plug(await add(graph, "memory", "d0"))
    await started(exports, tmp_path)
    await exports.nbd_server_add("vd0")
    assert [(each["id"], each["node-name"]) for each in exports.query()] == [("vd0", "d0")]


async def test_exported_node_can_not_be_removed(graph: BlockGraph, exports: BlockExports, tmp_path: Path) -> None:
    await add(graph, "memory", "d0")
    await started(exports, tmp_path)
    await exports.add(ExportOptions("e0", "d0"))
    with pytest.raises(ControlError, match=r"^Node d0 is in use$"):
        await blockdev_del(graph, "d0")


# ---- removing


async def test_remove_safe_with_a_client_is_refused_and_hard_hangs_up(
    graph: BlockGraph, exports: BlockExports, notes: Notes, tmp_path: Path
) -> None:
    await add(graph, "memory", "d0")
    path = await started(exports, tmp_path)
    await exports.add(ExportOptions("e0", "d0"))
    peer = await Peer.connect(path, b"d0")
    await peer.do(0, 0, 512)
    with pytest.raises(ControlError, match=r"^export 'e0' still in use$"):
        await exports.remove("e0")
    await exports.remove("e0", "hard")
    assert (await peer.ended(), exports.query(), deleted(notes)) == (True, [], ["e0"])


@pytest.mark.parametrize("remove", ["remove", "nbd_server_remove"])
async def test_remove_of_nothing_is_refused(exports: BlockExports, tmp_path: Path, remove: str) -> None:
    await started(exports, tmp_path)
    with pytest.raises(ControlError, match=r"^Export 'zz' is not found$"):
        await getattr(exports, remove)("zz")


async def test_nbd_server_remove_takes_it_away(graph: BlockGraph, exports: BlockExports, tmp_path: Path) -> None:
    await add(graph, "memory", "d0")
    await started(exports, tmp_path)
    await exports.nbd_server_add("d0")
    await exports.nbd_server_remove("d0")
    assert exports.query() == []


# ---- iothreads


async def served_by(exports: BlockExports, directory: Path, **options: Any) -> Peer:
    path = await started(exports, directory)
    await exports.add(ExportOptions("e0", "d0", writable=True, **options))
    return await Peer.connect(path, b"d0")


async def test_add_moves_the_node_to_the_iothread(
    graph: BlockGraph, exports: BlockExports, iothreads: list[IOThread], tmp_path: Path
) -> None:
    node = await add(graph, "memory", "d0")
    peer = await served_by(exports, tmp_path, iothread="io0")
    assert (await peer.do(0, 0, 512)).error == 0
    assert node.context is iothreads[0].aio_context


async def test_add_where_the_node_can_not_move_stays_with_it(
    graph: BlockGraph, exports: BlockExports, context: AioContext, tmp_path: Path
) -> None:
    node = await add(graph, "memory", "d0")
    await plug(node)
    peer = await served_by(exports, tmp_path, iothread="io0")
    assert (await peer.do(0, 0, 512)).error == 0
    assert node.context is context


async def test_clients_go_along_when_the_node_moves_under_io(
    graph: BlockGraph, exports: BlockExports, iothreads: list[IOThread], context: AioContext, tmp_path: Path
) -> None:
    node = await add(graph, "memory", "d0", size=1 << 20)
    peer = await served_by(exports, tmp_path)
    ended = 0

    async def write_and_read() -> None:
        nonlocal ended
        while ended < 60:
            data = bytes([ended % 256]) * 4096
            assert (await peer.do(1, ended * 4096, 4096, data=data)).error == 0
            assert (await peer.do(0, ended * 4096, 4096)).chunks[0][2][8:] == data
            ended += 1

    io = asyncio.ensure_future(write_and_read())
    homes = [iothreads[0].aio_context, iothreads[1].aio_context, context]
    moves = 0
    while not io.done():
        await move_nodes(node, homes[moves % 3])
        moves += 1
    await io
    assert moves > 3


async def test_client_that_comes_while_the_node_moves_is_served_in_its_new_home(
    graph: BlockGraph, exports: BlockExports, iothreads: list[IOThread], tmp_path: Path
) -> None:
    node = await add(graph, "memory", "d0")
    path = await started(exports, tmp_path)
    await exports.add(ExportOptions("e0", "d0"))
    moving = asyncio.ensure_future(move_nodes(node, iothreads[0].aio_context))
    peer = await Peer.connect(path, b"d0")
    reply = await peer.do(0, 0, 512)
    await moving
    assert (reply.error, node.context) == (0, iothreads[0].aio_context)


async def test_fixed_export_keeps_its_node(
    graph: BlockGraph, exports: BlockExports, iothreads: list[IOThread], tmp_path: Path
) -> None:
    node = await add(graph, "memory", "d0")
    peer = await served_by(exports, tmp_path, iothread="io1", fixed_iothread=True)
    with pytest.raises(ControlError, match=r"^Cannot change iothread of active block backend$"):
        await exports.add(ExportOptions("e1", "d0", name="u", iothread="io0", fixed_iothread=True))
    assert (await peer.do(0, 0, 512)).error == 0
    assert node.context is iothreads[1].aio_context


async def test_removed_while_suspended_the_client_is_gone(
    graph: BlockGraph, exports: BlockExports, iothreads: list[IOThread], tmp_path: Path
) -> None:
    node = await add(graph, "memory", "d0")
    peer = await served_by(exports, tmp_path)
    await peer.do(0, 0, 512)
    moving = asyncio.ensure_future(move_nodes(node, iothreads[0].aio_context))
    await exports.remove("e0", "hard")
    await moving
    assert (await peer.ended(), exports.query(), node.parents) == (True, [], [])
