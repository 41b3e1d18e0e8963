# SPDX-License-Identifier: GPL-2.0-or-later
"""The server with other people's clients: libnbd, nbdinfo, nbdcopy, qemu-img, qemu-io."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

import pytest

from tests.block.nbd.conftest import Serve
from tests.block.nbd.programs import libnbd, output_of, run

MIB = 1 << 20


@pytest.fixture
def sparse(tmp_path: Path) -> Path:
    """``sparse.raw``: 1 MiB of data, 2 MiB of hole, 1 MiB of data."""
    path = tmp_path / "sparse.raw"
    data = random.Random(3).randbytes(2 * MIB)
    with path.open("wb") as file:
        file.write(data[:MIB])
        file.seek(3 * MIB)
        file.write(data[MIB:])
    return path


def raw(path: Path) -> dict[str, object]:
    """A table for it."""
    return {"driver": "raw", "discard": "unmap", "file": {"driver": "file", "filename": str(path)}}


async def test_nbdinfo_sees_what_is_offered(serve: Serve) -> None:
    served = await serve(export={"description": "a disk", "allocation_depth": True})
    (export,) = json.loads(await output_of("nbdinfo", "--json", served.uri()))["exports"]
    expected = {
        "export-name": "disk",
        "description": "a disk",
        "contexts": ["base:allocation", "qemu:allocation-depth"],
        "is_read_only": False,
        "can_cache": True,
        "can_df": True,
        "can_fast_zero": True,
        "can_flush": True,
        "can_fua": True,
        "can_multi_conn": True,
        "can_trim": True,
        "can_zero": True,
        "block_size_minimum": 1,
        "block_size_preferred": 4096,
        "block_size_maximum": 33554432,
        "export-size": MIB,
    }
    assert {key: export.get(key) for key in expected} == expected


async def test_nbdinfo_lists_all_exports(serve: Serve) -> None:
    served = await serve("first", export={"read_only": True})
    await served.add("", description="the default")
    listed = json.loads(await output_of("nbdinfo", "--list", "--json", served.uri("")))["exports"]
    assert [(each["export-name"], each["is_read_only"]) for each in listed] == [("first", True), ("", False)]


async def test_qemu_nbd_lists_all_exports(serve: Serve) -> None:
    served = await serve(export={"description": "a disk", "allocation_depth": True})
    listed = await output_of("qemu-nbd", "--list", "--socket", served.path)
    assert "exports available: 1\n export: 'disk'\n  description: a disk\n  size:  1048576\n" in listed
    assert "flags: 0xded ( flush fua trim zeroes df multi cache fast-zero )" in listed
    assert "available meta contexts: 2\n   base:allocation\n   qemu:allocation-depth" in listed


async def test_map_is_that_of_the_file(serve: Serve, sparse: Path) -> None:
    served = await serve(table=raw(sparse))
    mapped = json.loads(await output_of("nbdinfo", "--map", "--json", served.uri()))
    assert [(each["offset"], each["length"], each["type"]) for each in mapped] == [
        (0, MIB, 0),
        (MIB, 2 * MIB, 3),
        (3 * MIB, MIB, 0),
    ]


async def test_nbdcopy_reads_and_writes(serve: Serve, sparse: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.raw"
    target.write_bytes(bytes(4 * MIB))
    served = await serve("source", raw(sparse))
    await served.add("target", raw(target))
    await output_of("nbdcopy", served.uri("source"), served.uri("target"))
    assert target.read_bytes() == sparse.read_bytes()


async def test_qemu_img_converts_both_ways_and_finds_no_difference(serve: Serve, sparse: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.raw"
    target.write_bytes(bytes(4 * MIB))
    served = await serve("source", raw(sparse))
    await served.add("target", raw(target))
    source, disk = served.uri("source"), served.uri("target")
    await output_of("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", source, disk)
    assert target.read_bytes() == sparse.read_bytes()
    assert "Images are identical" in await output_of("qemu-img", "compare", "-f", "raw", "-F", "raw", source, disk)


async def test_qemu_io_finds_its_patterns(serve: Serve, sparse: Path) -> None:
    served = await serve(table=raw(sparse))
    commands = [
        "write -P 0x11 65000 70000",
        "write -f -P 0x22 1M 64k",
        "read -P 0x11 65000 70000",
        "write -z -u 100000 5000",
        "read -P 0 100000 5000",
        "discard 2M 64k",
        "flush",
        "read -P 0x22 1M 64k",
    ]
    command = [part for each in commands for part in ("-c", each)]
    ended = await run("qemu-io", "-f", "raw", *command, served.uri())
    assert (ended.code, ended.errors) == (0, "")
    assert "Pattern verification failed" not in ended.output


async def test_libnbd_reads_holes_as_holes(serve: Serve, sparse: Path) -> None:
    served = await serve(table=raw(sparse))
    script = """
h.connect_uri(args[0])
chunks = []
def chunk(data, offset, status, error): chunks.append((offset, len(data), status))
h.pread_structured(3 << 20, 1 << 19, chunk)
h.pread_structured(1 << 20, 0, chunk)
h.pread_structured(8192, 1 << 20, chunk, nbd.CMD_FLAG_DF)
print(chunks)
"""
    data, hole = 1, 2
    assert eval(await libnbd(script, served.uri())) == [
        (MIB // 2, MIB // 2, data),
        (MIB, 2 * MIB, hole),
        (3 * MIB, MIB // 2, data),
        (0, MIB, data),
        (MIB, 8192, data),
    ]


async def test_libnbd_reads_what_it_has_zeroed_as_a_hole(serve: Serve, sparse: Path) -> None:
    served = await serve(table=raw(sparse))
    script = """
h.connect_uri(args[0])
def chunks(offset, length):
    found = []
    h.pread_structured(length, offset, lambda data, offset, status, error: found.append((offset, len(data), status)))
    return found
print(chunks(0, 8192))
h.zero(4096, 4096)
print(chunks(0, 12288))
h.trim(65536, 65536)
print(chunks(65536, 65536))
h.pwrite(b"a" * 4096, 4096)
print(chunks(0, 12288))
"""
    assert (await libnbd(script, served.uri())).splitlines() == [
        "[(0, 8192, 1)]",
        "[(0, 4096, 1), (4096, 4096, 2), (8192, 4096, 1)]",
        "[(65536, 65536, 2)]",
        "[(0, 12288, 1)]",
    ]


async def test_libnbd_sees_the_layers_of_a_chain(serve: Serve, tmp_path: Path) -> None:
    base, top = tmp_path / "base.qcow2", tmp_path / "top.qcow2"
    await output_of("qemu-img", "create", "-f", "qcow2", base, "1M")
    await output_of("qemu-io", "-f", "qcow2", "-c", "write 0 128k", base)
    await output_of("qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", top)
    await output_of("qemu-io", "-f", "qcow2", "-c", "write 64k 128k", top)
    table = {"driver": "qcow2", "file": {"driver": "file", "filename": str(top)}, "read-only": True}
    served = await serve(table=table, export={"read_only": True, "allocation_depth": True})
    script = """
h.add_meta_context("qemu:allocation-depth")
h.connect_uri(args[0])
def extents(context, offset, entries, error): print(context, entries)
h.block_status(1 << 20, 0, extents)
h.block_status(1 << 20, 0, extents, nbd.CMD_FLAG_REQ_ONE)
"""
    whole = "[65536, 2, 131072, 1, 851968, 0]"
    expected = f"qemu:allocation-depth {whole}\nqemu:allocation-depth [65536, 2]\n"
    assert await libnbd(script, served.uri()) == expected


async def test_libnbd_writes_with_all_flags(serve: Serve) -> None:
    served = await serve()
    script = """
h.connect_uri(args[0])
h.pwrite(b"a" * 8192, 0, nbd.CMD_FLAG_FUA)
h.zero(4096, 0, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
h.zero(4096, 65536, nbd.CMD_FLAG_FAST_ZERO)
h.trim(4096, 8192, nbd.CMD_FLAG_FUA)
h.cache(1 << 20, 0)
h.flush()
print(h.pread(8192, 0) == bytes(4096) + b"a" * 4096)
h.shutdown()
"""
    assert await libnbd(script, served.uri()) == "True\n"
    assert served.disk().data[:8192] == bytes(4096) + b"a" * 4096
    assert served.reports == []


@pytest.mark.slow
async def test_sixteen_clients_at_once_lose_nothing(serve: Serve, tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(16 * MIB))
    served = await serve(table=raw(disk))
    script = """
import random
h.connect_uri(args[0])
part = int(args[1]) << 20
rng = random.Random(part)
left = set()
for i in range(64):
    left.add(h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(rng.randbytes(4096))), part + 4096 * i))
while left:
    left -= {cookie for cookie in left if h.aio_command_completed(cookie)}
    if left:
        h.poll(-1)
h.shutdown()
"""
    await asyncio.gather(*(libnbd(script, served.uri(), str(part)) for part in range(16)))
    for part in range(16):
        expected = random.Random(part << 20).randbytes
        with disk.open("rb") as file:
            file.seek(part << 20)
            assert file.read(64 * 4096) == b"".join(expected(4096) for _ in range(64))
