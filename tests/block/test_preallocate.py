# SPDX-License-Identifier: GPL-2.0-or-later
"""preallocate over a file that grows."""

from __future__ import annotations

import asyncio
import errno
import tempfile
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hypothesis import example, given, settings
from hypothesis import strategies as st

import asyncemu.testing.memory_disk  # noqa: F401  # makes the driver "memory" known
from asyncemu.block import BlockBackend, BlockGraph, BlockNode
from asyncemu.block.flags import PERM_ALL, PERM_CONSISTENT_READ, PERM_RESIZE, PERM_WRITE
from asyncemu.block.reopen import reopen
from asyncemu.coroutines import start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext

ALIGN = 4096
AHEAD = 8192
WRITES = PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty file."""
    path = tmp_path / "grows.img"
    path.touch()
    return path


async def preallocating(graph: BlockGraph, **options: Any) -> BlockNode:
    table = {
        "driver": "preallocate",
        "node-name": "top",
        "prealloc-align": ALIGN,
        "prealloc-size": AHEAD,
        "file": {"driver": "file", "filename": "grows.img", "node-name": "file"},
        **options,
    }
    return await graph.add_table(table, "blockdev[0]")


async def user(graph: BlockGraph, node: BlockNode, permissions: int = WRITES) -> BlockBackend:
    backend = BlockBackend("b", graph.context, permissions, PERM_ALL)
    backend.allow_write_beyond_end = True
    await backend.insert(node)
    return backend


def end(path: Path) -> int:
    """Where the file ends now."""
    return path.stat().st_size


async def test_write_past_the_end_provides_more(graph: BlockGraph, path: Path) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.pwrite(0, b"x" * 100)
    # What is written and the size, rounded up.
    assert (end(path), node.size, backend.size) == (12288, 100, 100)
    await backend.pwrite(100, b"y" * 8000)
    assert (end(path), node.size) == (12288, 8100)
    await backend.pwrite(12288, b"z")
    assert (end(path), node.size) == (24576, 12289)
    assert await backend.pread(0, 12289) == b"x" * 100 + b"y" * 8000 + bytes(12288 - 8100) + b"z"


async def test_close_cuts_off_what_is_ahead(graph: BlockGraph, path: Path) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.pwrite(0, b"x" * 100)
    await backend.remove()
    await graph.remove(node)
    assert path.read_bytes() == b"x" * 100


async def test_close_of_the_graph_cuts_off_what_is_ahead(graph: BlockGraph, path: Path) -> None:
    backend = await user(graph, await preallocating(graph))
    await backend.pwrite(0, b"x" * 100)
    await backend.remove()
    await graph.close()
    assert path.read_bytes() == b"x" * 100


@pytest.mark.parametrize("kept", [PERM_CONSISTENT_READ, PERM_CONSISTENT_READ | PERM_WRITE])
async def test_permissions_given_up_cut_off_what_is_ahead(graph: BlockGraph, path: Path, kept: int) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.pwrite(0, b"x" * 100)
    backend.set_permissions(kept, PERM_ALL)
    # Whoever comes next waits for that.
    await graph.nodes["file"].flush()
    assert await graph.nodes["file"].pread(50, 100) == b"x" * 50 + bytes(50)
    assert (end(path), node.size, graph.nodes["file"].size) == (100, 100, 100)
    backend.set_permissions(WRITES, PERM_ALL)
    await backend.pwrite(100, b"y")
    assert (end(path), node.size) == (12288, 101)


async def test_permissions_back_at_once_find_the_end_of_the_data(graph: BlockGraph, path: Path) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.pwrite(0, b"x" * 100)
    backend.set_permissions(PERM_CONSISTENT_READ, PERM_ALL)
    backend.set_permissions(WRITES, PERM_ALL)
    await backend.pwrite(100, b"y" * 100)
    await backend.remove()
    await graph.close()
    assert path.read_bytes() == b"x" * 100 + b"y" * 100


async def test_without_permission_to_resize_nothing_is_provided(graph: BlockGraph, path: Path) -> None:
    path.write_bytes(bytes(1000))
    backend = await user(graph, await preallocating(graph), PERM_CONSISTENT_READ | PERM_WRITE)
    await backend.pwrite(0, b"x" * 100)
    assert end(path) == 1000


async def test_while_it_provides_nobody_else_may_write(graph: BlockGraph, path: Path) -> None:
    await user(graph, await preallocating(graph))
    other = BlockBackend("other", graph.context, PERM_WRITE, PERM_ALL)
    with pytest.raises(ConfigError, match="Permission conflict on node 'file'"):
        await other.insert(graph.nodes["file"])


async def test_zeroes_past_the_end_are_provided_in_one_go(graph: BlockGraph, path: Path) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.write_zeroes(0, 100)
    assert (end(path), node.size) == (12288, 100)
    await backend.write_zeroes(100, 5000)
    assert (end(path), node.size) == (12288, 5100)
    assert await backend.pread(0, 5100) == bytes(5100)


async def test_zeroes_over_data_are_written(graph: BlockGraph, path: Path) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.pwrite(0, b"x" * 3000)
    await backend.write_zeroes(1000, 5000)
    assert await backend.pread(0, 6000) == b"x" * 1000 + bytes(5000)
    assert node.size == 6000


async def test_file_that_can_not_provide_grows_by_itself(
    graph: BlockGraph, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = await user(graph, await preallocating(graph))

    async def refused(offset: int, length: int, flags: int = 0) -> None:
        raise OSError(errno.ENOTSUP, "no")

    monkeypatch.setattr(graph.nodes["file"].driver, "write_zeroes", refused)
    for number in range(4):
        await backend.pwrite(number * 100, bytes([number + 1]) * 100)
    assert path.read_bytes() == b"".join(bytes([number + 1]) * 100 for number in range(4))


async def test_writes_at_once_all_arrive(graph: BlockGraph, path: Path) -> None:
    backend = await user(graph, await preallocating(graph))
    writes = [start(graph.context, backend.pwrite(number * 3000, bytes([number + 1]) * 3000)) for number in range(30)]
    for write in writes:
        await write
    await backend.remove()
    await graph.close()
    assert path.read_bytes() == b"".join(bytes([number + 1]) * 3000 for number in range(30))


# ---- truncate


async def test_truncate_longer_without_preallocation_leaves_nothing_ahead(graph: BlockGraph, path: Path) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.pwrite(0, b"x" * 100)
    await backend.truncate(5000, exact=True)
    assert (end(path), node.size) == (5000, 5000)


async def test_truncate_longer_with_falloc_takes_what_is_ahead(graph: BlockGraph, path: Path) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.pwrite(0, b"x" * 100)
    await backend.truncate(5000, exact=True, preallocation="falloc")
    assert (end(path), node.size) == (12288, 5000)
    await backend.truncate(20000, exact=True, preallocation="falloc")
    assert (end(path), node.size) == (20000, 20000)


async def test_truncate_shorter_cuts_the_file(graph: BlockGraph, path: Path) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.pwrite(0, b"x" * 100)
    await backend.truncate(50, exact=True)
    assert (path.read_bytes(), node.size) == (b"x" * 50, 50)


# ---- options


@pytest.mark.parametrize(
    ("align", "below", "problem"),
    [
        (100, 1, "prealloc-align parameter of preallocate filter is not aligned to 512"),
        (
            512,
            4096,
            "prealloc-align parameter of preallocate filter is not aligned to underlying node request alignment (4096)",
        ),
    ],
)
async def test_open_with_wrong_alignment_says_what_qemu_says(
    graph: BlockGraph, align: int, below: int, problem: str
) -> None:
    file = {"driver": "memory", "request-alignment": below}
    with pytest.raises(ConfigError) as caught:
        await graph.add_table({"driver": "preallocate", "prealloc-align": align, "file": file}, "b")
    assert caught.value.problem == problem


async def test_reopen_takes_another_size(graph: BlockGraph, path: Path) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await reopen(graph, {node: {"prealloc-size": 1 << 20}}, keep=True)
    await backend.pwrite(0, b"x")
    assert end(path) == (1 << 20) + ALIGN
    with pytest.raises(ConfigError, match="is not aligned to 512"):
        await reopen(graph, {node: {"prealloc-align": 7}}, keep=True)


# ---- against a model

steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "zeroes", "truncate", "falloc", "read"]),
        st.integers(0, 30_000),
        st.integers(1, 9000),
    ),
    max_size=15,
)


async def compare(steps: list[tuple[str, int, int]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "grows.img"
        path.touch()
        context = AioContext(asyncio.get_running_loop(), "model")
        graph = BlockGraph(context, Path(directory))
        node = await preallocating(graph)
        backend = await user(graph, node)
        model = bytearray()
        for number, step in enumerate(steps):
            await apply(backend, model, number, *step)
            assert node.size == len(model)
        await backend.remove()
        await graph.close()
        context.close()
        assert path.read_bytes() == model


async def apply(backend: BlockBackend, model: bytearray, number: int, what: str, offset: int, length: int) -> None:
    """One request to both."""
    match what:
        case "read":
            offset = min(offset, len(model))
            length = min(length, len(model) - offset)
            assert await backend.pread(offset, length) == model[offset : offset + length]
        case "write" | "zeroes":
            data = bytes([number + 1 if what == "write" else 0]) * length
            if what == "write":
                await backend.pwrite(offset, data)
            else:
                await backend.write_zeroes(offset, length)
            model.extend(bytes(max(offset + length - len(model), 0)))
            model[offset : offset + length] = data
        case _:
            grows = what == "falloc" and offset >= len(model)
            await backend.truncate(offset, exact=True, preallocation="falloc" if grows else "off")
            del model[offset:]
            model.extend(bytes(offset - len(model)))


@settings(max_examples=30, deadline=None)
@example(steps=[("write", 0, 1), ("falloc", 1, 1)])
@given(steps=steps)
def test_any_requests_leave_what_they_would_without(steps: list[tuple[str, int, int]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(compare(steps))


async def test_error_of_cutting_off_is_told(graph: BlockGraph, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await preallocating(graph)
    backend = await user(graph, node)
    await backend.pwrite(0, b"x" * 100)
    await backend.remove()

    async def failing(size: int, **options: Any) -> int:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patched:
        patched.setattr(graph.nodes["file"].driver, "truncate", failing)
        errors: list[dict[str, Any]] = []
        graph.context.loop.set_exception_handler(lambda _, context: errors.append(context))
        backend = await user(graph, node)
        await backend.pwrite(100, b"y" * 13000)
        await backend.remove()
        await graph.nodes["file"].flush()
    graph.context.loop.set_exception_handler(None)
    assert [str(each["exception"]) for each in errors] == ["file: truncate to 13100 bytes: Input/output error"]
    with pytest.raises(BlockError, match="truncate to 13100 bytes"):
        await graph.remove(node)
