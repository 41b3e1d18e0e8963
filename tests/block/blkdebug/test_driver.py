# SPDX-License-Identifier: GPL-2.0-or-later
"""blkdebug below a raw node, which passes read_aio and write_aio."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

import asyncemu.testing.memory_disk  # noqa: F401  # makes the driver "memory" known
from asyncemu.block import BlockBackend, BlockGraph, BlockNode, drained
from asyncemu.block.blkdebug import BlkdebugDriver, blkdebug_below
from asyncemu.block.flags import NO_FALLBACK, PERM_ALL, PERM_CONSISTENT_READ, PERM_WRITE
from asyncemu.coroutines import Coroutine, start
from asyncemu.errors import BlockError, ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.memory_disk import MemoryDisk
from tests.block.drivers import use

SIZE = 1 << 16
DISK = {"driver": "memory", "node-name": "disk", "size": SIZE, "discard": "unmap"}


class Layers:
    """raw over blkdebug over a memory disk."""

    def __init__(self, top: BlockNode) -> None:
        self.top = top
        found = blkdebug_below(top)
        assert found is not None
        self.debug: BlkdebugDriver = found
        #: What was reported.
        self.lines: list[str] = []
        self.debug.report = self.lines.append
        disk = self.debug.image.node.driver
        assert isinstance(disk, MemoryDisk)
        self.disk = disk

    def read(self, offset: int = 0, length: int = 512) -> Coroutine[None]:
        return start(self.top.context, self.top.preadv(offset, Buffers.of(bytearray(length))))

    def write(self, offset: int = 0, length: int = 512) -> Coroutine[None]:
        return start(self.top.context, self.top.pwritev(offset, Buffers.of(b"w" * length)))


async def layers(graph: BlockGraph, **options: Any) -> Layers:
    table = {"driver": "blkdebug", "image": DISK, "discard": "unmap"}
    table |= {key.replace("_", "-"): value for key, value in options.items()}
    top = await graph.add_table({"driver": "raw", "node-name": "top", "file": table, "discard": "unmap"}, "blockdev[0]")
    await use(top)
    return Layers(top)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


# ---- errors


async def test_injected_error_fails_the_request_and_not_the_next(graph: BlockGraph) -> None:
    here = await layers(graph, inject_error=[{"event": "read_aio", "errno": errno.ENOSPC, "once": True}])
    await here.write()
    with pytest.raises(BlockError) as caught:
        await here.read()
    assert caught.value.errno == errno.ENOSPC
    await here.read()
    assert [request[0] for request in here.disk.requests] == ["pwritev", "preadv"]


@pytest.mark.parametrize(
    ("iotype", "method", "arguments"),
    [
        ("read", "preadv", (0, Buffers.of(bytearray(512)))),
        ("write", "pwritev", (0, Buffers.of(bytes(512)))),
        ("write-zeroes", "write_zeroes", (0, 512)),
        ("discard", "discard", (0, 512)),
        ("flush", "flush", ()),
        ("block-status", "block_status", (0, 512)),
    ],
)
async def test_injected_error_of_each_kind(
    graph: BlockGraph, iotype: str, method: str, arguments: tuple[Any, ...]
) -> None:
    here = await layers(graph, inject_error=[{"event": "none", "iotype": iotype, "errno": 13, "once": True}])
    await here.debug.node.pwritev(0, Buffers.of(b"x")) if iotype == "flush" else None
    with pytest.raises(BlockError) as caught:
        await getattr(here.top, method)(*arguments)
    assert caught.value.errno == 13
    await getattr(here.top, method)(*arguments)


@pytest.mark.parametrize(("immediately", "rounds"), [(True, 0), (False, 1)])
async def test_injected_error_immediately_is_in_the_same_round(
    graph: BlockGraph, immediately: bool, rounds: int
) -> None:
    here = await layers(graph, inject_error=[{"event": "none", "immediately": immediately}])
    request = here.read()
    assert request.done() == (rounds == 0)
    await settle()
    with pytest.raises(BlockError):
        await request


async def test_rules_of_a_file_and_of_options_both_hold(graph: BlockGraph, tmp_path: Path) -> None:
    (tmp_path / "rules").write_text('[set-state]\nevent = "write_aio"\nnew_state = "2"\n')
    here = await layers(graph, config="rules", inject_error=[{"event": "read_aio", "state": 2, "iotype": "read"}])
    await here.read()
    await here.write()
    with pytest.raises(BlockError):
        await here.read()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": "missing"}, "Could not read blkdebug config file: No such file or directory"),
        ({"inject_error": [{"errno": 5}]}, "Missing event name for rule"),
        ({"inject_error": [{"event": "zork"}]}, "invalid parameter value: zork"),
        ({"set_state": [{"event": "zork"}]}, "invalid parameter value: zork"),
        ({"align": 3}, "Cannot meet constraints with align 3"),
        ({"align": 1 << 31}, "Cannot meet constraints with align 2147483648"),
        ({"align": 512, "max_transfer": 700}, "Cannot meet constraints with max-transfer 700"),
        ({"align": 512, "opt_write_zero": 700}, "Cannot meet constraints with opt-write-zero 700"),
        ({"align": 4096, "max_write_zero": 512}, "Cannot meet constraints with max-write-zero 512"),
        ({"align": 512, "opt_discard": 100}, "Cannot meet constraints with opt-discard 100"),
        ({"opt_discard": 1024, "max_discard": 512}, "Cannot meet constraints with max-discard 512"),
    ],
)
async def test_open_with_wrong_options_says_what_qemu_says(
    graph: BlockGraph, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        await layers(graph, **options)
    assert caught.value.problem == message
    assert graph.nodes == {}


# ---- limits


async def test_limits_are_those_of_the_options(graph: BlockGraph) -> None:
    here = await layers(graph, align=512, max_transfer=1024)
    await here.write(100, 3000)
    assert [(length, offset % 512) for method, offset, length in here.disk.requests if method == "pwritev"] == [
        (1024, 0),
        (1024, 0),
        (1024, 0),
        (512, 0),
    ]


async def test_zeroes_and_discards_are_cut_by_the_options(graph: BlockGraph) -> None:
    here = await layers(graph, opt_write_zero=4096, max_write_zero=8192, opt_discard=4096, max_discard=8192)
    await here.top.write_zeroes(1000, 20000)
    await here.top.discard(1000, 20000)
    cut = [(method, offset, length) for method, offset, length in here.disk.requests if method != "pwritev"]
    assert cut == [
        ("write_zeroes", 4096, 8192),
        ("write_zeroes", 12288, 8192),
        ("discard", 1000, 3096),
        ("discard", 4096, 8192),
        ("discard", 12288, 8192),
        ("discard", 20480, 520),
    ]
    assert {(offset, length) for method, offset, length in here.disk.requests if method == "pwritev"} == {
        (1000, 3096),
        (20480, 520),
    }


async def test_zeroes_less_than_a_block_without_fallback_are_refused(graph: BlockGraph) -> None:
    here = await layers(graph, opt_write_zero=4096)
    with pytest.raises(BlockError) as caught:
        await here.top.write_zeroes(0, 512, NO_FALLBACK)
    assert caught.value.errno == errno.ENOTSUP


async def test_write_of_the_last_block_of_an_odd_size_keeps_the_size(graph: BlockGraph) -> None:
    here = await layers(graph, align=512, image={"driver": "memory", "size": 1000})
    await here.write(990, 10)
    assert here.disk.data == bytes(990) + b"w" * 10


async def test_child_permissions_are_taken_and_denied(graph: BlockGraph) -> None:
    here = await layers(graph, take_child_perms=["resize", "write-unchanged"], unshare_child_perms=["write"])
    disk = here.disk.node
    other = BlockBackend("other", graph.context, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL)
    with pytest.raises(ConfigError, match=r"permissions 'write' are both required by .* and unshared by"):
        await other.insert(disk)
    reader = BlockBackend("reader", graph.context, PERM_CONSISTENT_READ, PERM_CONSISTENT_READ | PERM_WRITE)
    with pytest.raises(ConfigError, match="permissions 'write unchanged, resize' are both required by"):
        await reader.insert(disk)


# ---- breakpoints


async def test_breakpoint_stops_one_request_until_resumed(graph: BlockGraph) -> None:
    here = await layers(graph)
    here.debug.debug_breakpoint("write_aio", "A")
    stopped, passes = here.write(0), here.write(512)
    assert (stopped.done(), passes.done()) == (False, True)
    assert here.debug.debug_is_suspended("A")
    await here.debug.debug_wait_suspended("A")
    here.debug.debug_resume("A")
    await stopped
    assert not here.debug.debug_is_suspended("A")
    assert here.lines == ["blkdebug: Suspended request 'A'", "blkdebug: Resuming request 'A'"]
    assert here.disk.requests == [("pwritev", 512, 512), ("pwritev", 0, 512)]


async def test_breakpoint_that_is_waited_for_is_met_later(graph: BlockGraph) -> None:
    here = await layers(graph)
    here.debug.debug_breakpoint("read_aio", "A")
    waiting = start(graph.context, here.debug.debug_wait_suspended("A"))
    assert not waiting.done()
    request = here.read()
    await waiting
    here.debug.debug_resume("A")
    await request


async def test_breakpoints_of_one_tag_resume_one_by_one_and_are_removed_together(graph: BlockGraph) -> None:
    here = await layers(graph)
    requests = []
    for number in range(3):
        here.debug.debug_breakpoint("read_aio", "A")
        requests.append(here.read(number * 512))
    here.debug.debug_resume("A")
    await settle()
    assert [request.done() for request in requests] == [False, False, True]
    here.debug.debug_breakpoint("read_aio", "A")
    here.debug.debug_remove_breakpoint("A")
    for request in requests:
        await request
    await here.read()


async def test_removed_breakpoint_that_was_met_is_enoent_and_the_request_goes_on(graph: BlockGraph) -> None:
    here = await layers(graph)
    here.debug.debug_breakpoint("read_aio", "A")
    request = here.read()
    with pytest.raises(OSError, match="No such file"):
        here.debug.debug_remove_breakpoint("A")
    await request


async def test_breakpoint_that_nobody_has_met_is_removed(graph: BlockGraph) -> None:
    here = await layers(graph)
    here.debug.debug_breakpoint("read_aio", "A")
    here.debug.debug_remove_breakpoint("A")
    assert here.read().done()


@pytest.mark.parametrize("method", ["debug_resume", "debug_remove_breakpoint"])
async def test_breakpoint_that_is_not_there_is_enoent(graph: BlockGraph, method: str) -> None:
    here = await layers(graph)
    with pytest.raises(OSError, match="No such file") as caught:
        getattr(here.debug, method)("A")
    assert caught.value.errno == errno.ENOENT


async def test_breakpoint_at_an_unknown_event_is_enoent(graph: BlockGraph) -> None:
    here = await layers(graph)
    with pytest.raises(OSError, match="No such file"):
        here.debug.debug_breakpoint("read", "A")


async def test_cancelled_request_at_a_breakpoint_is_not_suspended_any_more(graph: BlockGraph) -> None:
    here = await layers(graph)
    here.debug.debug_breakpoint("read_aio", "A")
    request = here.read()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert not here.debug.debug_is_suspended("A")


async def test_drained_section_waits_for_a_request_at_a_breakpoint(graph: BlockGraph) -> None:
    here = await layers(graph)
    here.debug.debug_breakpoint("read_aio", "A")
    request = here.read()

    async def drain() -> None:
        async with drained(here.top):
            pass

    section = asyncio.ensure_future(drain())
    await settle()
    assert not section.done()
    here.debug.debug_resume("A")
    await section
    assert request.done()


async def test_nodes_over_a_blkdebug_know_of_it(graph: BlockGraph) -> None:
    here = await layers(graph)
    plain = await graph.add_table({"driver": "raw", "node-name": "plain", "file": "disk"}, "blockdev[1]")
    assert (here.top.debugged, plain.debugged) == (True, False)
    assert blkdebug_below(plain) is None
