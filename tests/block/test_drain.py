# SPDX-License-Identifier: GPL-2.0-or-later
"""Drained sections, with what QEMU's test-bdrv-drain.c asks of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from asyncemu.block import BlockBackend, BlockGraph, BlockNode, drained, move_nodes
from asyncemu.block.drain import DrainedSection, drained_all
from asyncemu.block.graph_change import replace_node, set_backing
from asyncemu.coroutines import start
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext, IOThread
from asyncemu.memory.buffers import Buffers
from asyncemu.testing.waiting import until
from tests.block.drivers import add, memory, use, watched

Drain = Callable[[BlockNode, BlockNode], AbstractAsyncContextManager[None]]


def drain_one(node: BlockNode, backing: BlockNode) -> AbstractAsyncContextManager[None]:
    return drained(node)


def drain_both(node: BlockNode, backing: BlockNode) -> AbstractAsyncContextManager[None]:
    return drained_all([node, backing])


@pytest.fixture
async def graph(context: AioContext, iothreads: list[IOThread], tmp_path: Path) -> AsyncIterator[BlockGraph]:
    """Closed before the iothreads stop."""
    graph = BlockGraph(context, tmp_path)
    yield graph
    await graph.close()


async def overlay(graph: BlockGraph, calls: list[str] | None = None) -> tuple[BlockNode, BlockNode]:
    """A node with a backing file."""
    backing = await add(graph, "watched-disk", "backing")
    node = await add(graph, "watched-overlay", "node", backing="backing")
    watched(node).calls = watched(backing).calls = calls
    return node, backing


def counts(*nodes: BlockNode) -> list[tuple[int, int]]:
    """Sections, and what the driver has been told."""
    return [(len(node.sections), watched(node).drain_count) for node in nodes]


async def read(node: BlockNode) -> None:
    await node.preadv(0, Buffers.of(bytearray(512)))


# ---- drivers are told; what is in flight is waited for


@pytest.mark.parametrize(("drain", "backing_count"), [(drain_one, 0), (drain_both, 1)])
async def test_driver_is_told_of_the_first_and_the_last(graph: BlockGraph, drain: Drain, backing_count: int) -> None:
    node, backing = await overlay(graph)
    async with drain(node, backing):
        inside = counts(node, backing)
    assert inside == [(1, 1), (backing_count, backing_count)]
    assert counts(node, backing) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(("drain", "backing_count"), [(drain_one, 0), (drain_both, 1)])
async def test_request_in_flight_is_waited_for(graph: BlockGraph, drain: Drain, backing_count: int) -> None:
    node, backing = await overlay(graph)
    backend = await use(node)
    memory(node).gate.clear()
    request = start(graph.context, backend.pread(0, 512))
    graph.context.loop.call_soon(memory(node).gate.set)
    async with drain(node, backing):
        inside = request.done(), counts(node, backing)
    assert inside == (True, [(1, 1), (backing_count, backing_count)])
    await backend.remove()


@pytest.mark.parametrize("outer", [drain_one, drain_both])
@pytest.mark.parametrize("inner", [drain_one, drain_both])
async def test_nested_sections_tell_the_driver_once(graph: BlockGraph, outer: Drain, inner: Drain) -> None:
    node, backing = await overlay(graph)
    backing_sections = [outer, inner].count(drain_both)
    async with outer(node, backing), inner(node, backing):
        inside = counts(node, backing)
    assert inside == [(2, 1), (backing_sections, min(backing_sections, 1))]
    assert counts(node, backing) == [(0, 0), (0, 0)]


async def test_sections_that_overlap_end_with_the_last(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    first, second = DrainedSection([node]), DrainedSection([node])
    await first.begin()
    await second.begin()
    await first.end()
    between = counts(node)
    await second.end()
    assert (between, counts(node)) == ([(1, 1)], [(0, 0)])


async def test_drain_tells_parents_before_children_and_ends_the_other_way(graph: BlockGraph) -> None:
    calls: list[str] = []
    node, backing = await overlay(graph, calls)
    async with drained_all([backing, node]):
        pass
    assert calls == ["node begin", "backing begin", "backing end", "node end"]


async def test_drained_node_over_it_is_drained_too(graph: BlockGraph) -> None:
    node, backing = await overlay(graph)
    async with drained(backing):
        inside = counts(node, backing)
    assert inside == [(1, 1), (1, 1)]


async def test_node_with_two_parents_drains_both(graph: BlockGraph) -> None:
    below = await add(graph, "watched-disk", "below")
    parents = [await add(graph, "watched-overlay", f"parent{index}", backing="below") for index in range(2)]
    async with drained(below):
        inside = counts(*parents, below)
    assert inside == [(1, 1), (1, 1), (1, 1)]
    assert counts(*parents, below) == [(0, 0)] * 3


async def test_driver_that_lets_go_when_drained_ends_the_wait(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    disk = memory(node)
    disk.gate.clear()
    request = start(graph.context, node.preadv(0, Buffers.of(bytearray(512))))
    watched(node).calls = Opener(disk.gate)
    async with drained(node):
        assert request.done()


class Opener(list[str]):
    """Opens a gate when the driver is told of a section, as a driver does whose requests wait for a rate."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__()
        self.gate = gate

    def append(self, what: str) -> None:
        self.gate.set()


async def test_drain_cancelled_while_it_waits_leaves_nothing_quiet(graph: BlockGraph) -> None:
    node, backing = await overlay(graph)
    backend = await use(node)
    memory(node).gate.clear()
    request = start(graph.context, backend.pread(0, 512))
    section = DrainedSection([backing])
    draining = start(graph.context, section.begin())
    assert (backend.quiesced, counts(node, backing)) == (1, [(1, 1), (1, 1)])

    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining

    assert (backend.quiesced, counts(node, backing)) == (0, [(0, 0), (0, 0)])
    memory(node).gate.set()
    await request
    await backend.remove()


# ---- requests that come meanwhile


async def test_request_that_comes_meanwhile_waits_for_the_end(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    backend = await use(node)
    async with drained(node):
        requests = [start(graph.context, backend.pwrite(index * 512, b"x" * 512)) for index in range(3)]
        await asyncio.sleep(0)
        inside = memory(node).requests.copy()
    for request in requests:
        await request
    assert inside == []
    assert memory(node).requests == [("pwritev", 0, 512), ("pwritev", 512, 512), ("pwritev", 1024, 512)]
    await backend.remove()


async def test_request_woken_into_another_section_waits_on(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    backend = await use(node)
    first, second = DrainedSection([node]), DrainedSection([node])
    await first.begin()
    request = start(graph.context, backend.pwrite(0, b"x"))
    await first.end()
    await second.begin()
    await asyncio.sleep(0)
    assert (request.done(), memory(node).requests) == (False, [])
    await second.end()
    await request
    await backend.remove()


async def test_request_cancelled_while_it_waits_is_never_made(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    backend = await use(node)
    async with drained(node):
        request = start(graph.context, backend.pwrite(0, b"x"))
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
    await backend.flush()
    assert memory(node).requests == []
    await backend.remove()


# ---- the graph changes meanwhile


async def test_attach_in_a_section_parent_is_drained_until_its_end(graph: BlockGraph) -> None:
    base = await add(graph, "watched-disk", "base")
    async with drained(base):
        top = await add(graph, "watched-overlay", "top", backing="base")
        inside = counts(base, top)
    assert inside == [(1, 1), (1, 1)]
    assert counts(base, top) == [(0, 0), (0, 0)]


async def test_append_to_drained_node_its_parent_stays_quiet(graph: BlockGraph) -> None:
    base = await add(graph, "watched-disk", "base")
    backend = await use(base)
    async with drained(base):
        top = await add(graph, "watched-overlay", "top", backing="base")
        await replace_node(graph, base, top)
        request = start(graph.context, backend.pwrite(0, b"new"))
        await asyncio.sleep(0)
        inside = counts(base, top), backend.quiesced, request.done()
    await request
    assert inside == ([(1, 1), (1, 1)], 1, False)
    assert counts(base, top) == [(0, 0), (0, 0)]
    assert (bytes(memory(top).data[:3]), bytes(memory(base).data[:3])) == (b"new", bytes(3))
    await backend.remove()


async def test_detach_in_a_section_frees_the_parent(graph: BlockGraph) -> None:
    node, backing = await overlay(graph)
    async with drained(backing):
        await set_backing(graph, node, None)
        inside = counts(node, backing)
    assert inside == [(0, 0), (1, 1)]
    assert counts(node, backing) == [(0, 0), (0, 0)]


@pytest.mark.parametrize(("old_sections", "new_sections"), [(0, 0), (0, 1), (1, 0), (1, 1), (2, 1), (1, 2)])
async def test_replace_child_mid_drain_parent_is_drained_as_its_child(
    graph: BlockGraph, old_sections: int, new_sections: int
) -> None:
    old, new = await add(graph, "watched-disk", "old"), await add(graph, "watched-disk", "new")
    parent = await add(graph, "watched-overlay", "parent", backing="old")
    backend = await use(parent)
    sections = [DrainedSection([old]) for _ in range(old_sections)] + [
        DrainedSection([new]) for _ in range(new_sections)
    ]
    for section in sections:
        await section.begin()
    calls = watched(parent).calls = []
    request = start(graph.context, backend.pread(0, 512)) if not old_sections else None

    await replace_node(graph, old, new)

    # From drained to drained nobody comes in between.
    assert (
        calls
        == {
            (False, False): ["parent begin", "parent end"],
            (False, True): ["parent begin"],
            (True, False): ["parent end"],
            (True, True): [],
        }[(old_sections > 0, new_sections > 0)]
    )
    assert (len(parent.sections), backend.quiesced) == (new_sections, new_sections)
    assert request is None or request.done()
    for section in sections:
        await section.end()
    assert counts(old, new, parent) == [(0, 0)] * 3
    assert backend.quiesced == 0
    await backend.remove()


async def test_node_removed_in_a_section_is_not_told_of_its_end(graph: BlockGraph) -> None:
    node, backing = await overlay(graph)
    calls = watched(node).calls = []
    async with drained(backing):
        await graph.remove(node)
        inside = counts(backing)
    assert (inside, calls) == ([(1, 1)], ["node begin"])
    assert counts(backing) == [(0, 0)]


async def test_node_that_is_drained_itself_can_be_removed(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    async with drained(node):
        await graph.remove(node)
    assert (list(graph.nodes), node.sections) == (["backing"], [])


async def test_parent_deleted_by_the_end_of_the_request_that_is_waited_for(graph: BlockGraph) -> None:
    """QEMU: /bdrv-drain/deletion/drain."""
    child = await add(graph, "watched-disk", "child")
    top = await add(graph, "watched-overlay", "top", backing="child")
    backend = await use(top)
    memory(child).gate.clear()

    async def read_and_delete() -> None:
        await backend.pread(0, 512)
        await backend.remove()
        await graph.remove(top)

    deleting = start(graph.context, read_and_delete())
    graph.context.loop.call_soon(memory(child).gate.set)
    async with drained(child):
        pass
    await deleting
    assert (list(graph.nodes), counts(child)) == (["child"], [(0, 0)])


async def test_parent_detached_by_the_end_of_the_request_that_is_waited_for(graph: BlockGraph) -> None:
    """QEMU: /bdrv-drain/detach/drain, and parent_cb."""
    child, other = await add(graph, "watched-disk", "child"), await add(graph, "watched-disk", "other")
    top = await add(graph, "watched-overlay", "top", backing="child")
    backend = await use(top)
    memory(child).gate.clear()

    async def read_and_detach() -> None:
        await backend.pread(0, 512)
        await set_backing(graph, top, other)

    detaching = start(graph.context, read_and_detach())
    graph.context.loop.call_soon(memory(child).gate.set)
    async with drained(child):
        await detaching
        inside = counts(child, other, top)
    assert inside == [(1, 1), (0, 0), (0, 0)]
    assert counts(child, other, top) == [(0, 0)] * 3
    await backend.remove()


async def test_driver_that_changes_the_graph_when_drained_is_followed(graph: BlockGraph) -> None:
    """QEMU: /bdrv-drain/detach/driver_cb."""
    a, b, c = [await add(graph, "watched-disk", name) for name in "abc"]
    parent_a = await add(graph, "watched-overlay", "parent-a", backing="a")
    parent_b = await add(graph, "watched-overlay", "parent-b", backing="b")
    changes: list[asyncio.Task[None]] = []

    class Changing(list[str]):
        def append(self, what: str) -> None:
            if not changes:
                changes.append(asyncio.ensure_future(set_backing(graph, parent_b, c)))

    watched(parent_a).calls = Changing()
    async with drained(parent_b), drained(a), drained(b), drained(c):
        await changes[0]
        inside = [len(node.sections) for node in (parent_a, parent_b, a, b, c)]
    assert inside == [1, 2, 1, 1, 1]
    assert counts(parent_a, parent_b, a, b, c) == [(0, 0)] * 5


async def test_graph_that_changes_while_all_is_drained(graph: BlockGraph) -> None:
    """QEMU: /bdrv-drain/graph-change/drain_all."""
    a = await add(graph, "watched-disk", "a")
    backend_a = await use(a, "a")
    async with graph.drained():
        b = await add(graph, "watched-disk", "b")
        backend_b = await use(b, "b")
        with_both = counts(a, b), backend_a.quiesced, backend_b.quiesced
        await backend_a.remove()
        await graph.remove(a)
        without_a = counts(b), backend_a.quiesced
    assert with_both == ([(1, 1), (1, 1)], 1, 1)
    assert without_a == ([(1, 1)], 0)
    assert (counts(b), backend_b.quiesced) == ([(0, 0)], 0)
    await backend_b.remove()


async def test_backend_inserted_in_a_section_is_quiet_until_its_end(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    async with drained(node):
        backend = await use(node)
        request = start(graph.context, backend.flush())
        inside = request.done()
    await request
    assert inside is False
    await backend.remove()


async def test_backend_removed_in_a_section_is_free(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    backend = await use(node)
    async with drained(node):
        await backend.remove()
        with pytest.raises(BlockError, match="No medium found"):
            await backend.flush()


async def test_node_that_is_being_opened_is_drained_when_it_is_open(graph: BlockGraph) -> None:
    base = await add(graph, "watched-disk", "base")
    memory(base).gate.clear()
    opening = start(graph.context, add(graph, "reading", "top", file="base"))
    section = DrainedSection([base])
    beginning = start(graph.context, section.begin())
    driver = base.parents[0].parent.driver  # type: ignore[attr-defined]
    before = opening.done(), driver.drain_count
    memory(base).gate.set()
    top = await opening
    await beginning
    assert (before, counts(base, top)) == ((False, 0), [(1, 1), (1, 1)])
    await section.end()
    assert counts(base, top) == [(0, 0), (0, 0)]


async def test_backend_whose_node_is_closed_lets_go_of_it(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    backend = await use(node)
    async with drained(node):
        await graph.close()
        inside = node.sections, backend.quiesced
    with pytest.raises(BlockError, match="Cannot send after transport endpoint shutdown"):
        await backend.pread(0, 1)
    await backend.remove()
    assert (inside, node.parents) == (([], 0), [])


# ---- users of BlockBackends


class User:
    """A device: it notes what it is asked, and how often."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.quiet = 0

    async def quiesce(self) -> None:
        self.calls.append("quiesce")
        self.quiet += 1
        await asyncio.sleep(0)

    async def resume(self) -> None:
        self.calls.append("resume")
        self.quiet -= 1


async def with_user(node: BlockNode) -> tuple[BlockBackend, User]:
    backend, user = BlockBackend("dev0", node.context), User()
    backend.user = user
    await backend.insert(node)
    return backend, user


async def test_user_is_asked_for_each_section(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    backend, user = await with_user(node)
    async with drained(node), drained(node):
        inside = user.quiet
    assert (inside, user.quiet) == (2, 0)
    await backend.remove()


async def test_user_is_asked_when_its_backend_comes_into_a_section(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    async with drained(node):
        backend, user = await with_user(node)
        inside = user.quiet
    assert (inside, user.calls) == (1, ["quiesce", "resume"])
    await backend.remove()


async def test_user_goes_on_when_its_backend_leaves_a_section(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    backend, user = await with_user(node)
    async with drained(node):
        await backend.remove()
        await asyncio.sleep(0)
        inside = user.quiet
    assert (inside, user.calls) == (0, ["quiesce", "resume"])


async def test_requests_of_a_user_that_is_not_quiet_yet_go_on(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    backend, user = await with_user(node)
    done: list[bytearray] = []

    async def quiesce() -> None:
        done.append(await backend.pread(0, 4))

    user.quiesce = quiesce  # type: ignore[method-assign]
    async with drained(node):
        assert done == [bytes(4)]
    await backend.remove()


async def test_drain_cancelled_while_a_user_becomes_quiet_lets_it_go_on(graph: BlockGraph) -> None:
    node, _ = await overlay(graph)
    backend, user = await with_user(node)
    draining = start(graph.context, DrainedSection([node]).begin())
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
    assert user.calls == ["quiesce", "resume"]
    assert (backend.quiesced, counts(node)) == (0, [(0, 0)])
    await backend.remove()


# ---- several contexts


@pytest.mark.parametrize(("drain", "backing_count"), [(drain_one, 0), (drain_both, 1)])
@pytest.mark.parametrize("by_itself", [False, True])
async def test_drain_of_a_node_in_an_iothread_waits_for_its_requests(
    graph: BlockGraph, iothreads: list[IOThread], drain: Drain, backing_count: int, by_itself: bool
) -> None:
    node, backing = await overlay(graph)
    home = iothreads[0].aio_context
    await move_nodes(node, home)
    done: list[str] = []

    async def begin() -> None:
        memory(node).gate.clear()
        start(home, read(node), lambda _: done.append("read"))
        # By way of another context, as QEMU's test has it.
        iothreads[1].aio_context.schedule_oneshot(lambda: home.schedule_oneshot(memory(node).gate.set))

    async def check() -> None:
        async with drain(node, backing):
            done.append("drained")
            assert counts(node, backing) == [(1, 1), (backing_count, backing_count)]

    await home.call(begin)
    await (home if by_itself else graph.context).call(check)
    assert (done, counts(node, backing)) == (["read", "drained"], [(0, 0), (0, 0)])


async def test_section_over_several_contexts_holds_all(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    nodes = [await add(graph, "watched-disk", f"disk{index}") for index in range(3)]
    for node, thread in zip(nodes, iothreads, strict=False):
        await move_nodes(node, thread.aio_context)
    backends = [await use(node) for node in nodes]
    async with drained(*nodes):
        inside = counts(*nodes), [backend.quiesced for backend in backends]
    assert inside == ([(1, 1)] * 3, [1] * 3)
    assert counts(*nodes) == [(0, 0)] * 3
    for backend in backends:
        await backend.context.call(backend.remove)


async def test_node_that_moves_in_a_section_stays_in_it(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    """QEMU: /bdrv-drain/set_aio_context."""
    node, _ = await overlay(graph)
    async with drained(node):
        await move_nodes(node, iothreads[0].aio_context)
        inside = counts(node)
    async with drained(node):
        await move_nodes(node, iothreads[1].aio_context)
        await move_nodes(node, graph.context)
    assert inside == [(1, 1)]
    assert counts(node) == [(0, 0)]


async def test_request_that_waits_goes_on_in_the_new_home(graph: BlockGraph, iothreads: list[IOThread]) -> None:
    node, _ = await overlay(graph)
    backend = await use(node)
    home = iothreads[0].aio_context
    async with drained(node):
        requests: list[Awaitable[None]] = [start(graph.context, backend.pwrite(0, b"moved"))]
        requests.append(asyncio.ensure_future(backend.flush()))
        await asyncio.sleep(0)
        await move_nodes(node, home, [backend])
    for request in requests:
        await request
    assert backend.context is home
    assert memory(node).data[:5] == b"moved"
    assert [method for method, _, _ in memory(node).requests] == ["pwritev", "flush"]
    await home.call(backend.remove)


async def test_request_of_an_iothread_that_has_stopped_meanwhile_is_forgotten(graph: BlockGraph) -> None:
    iothread = IOThread(graph.context, "short")
    await iothread.start()
    node = await add(graph, "watched-disk", "node")
    backend = await use(node)
    await move_nodes(node, iothread.aio_context, [backend])
    section = DrainedSection([node])
    await section.begin()
    request = asyncio.ensure_future(iothread.aio_context.call(lambda: backend.pread(0, 512)))
    await until(lambda: len(backend._waiting) == 1)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    await move_nodes(node, graph.context, [backend])
    await iothread.stop()
    await section.end()
    assert (backend.quiesced, len(await backend.pread(0, 512))) == (0, 512)
    await backend.remove()


async def test_drained_all_needs_no_order(graph: BlockGraph) -> None:
    node, backing = await overlay(graph)
    other = await add(graph, "watched-disk", "other")
    async with drained_all([other, backing, node]):
        inside = counts(node, backing, other)
    assert inside == [(1, 1)] * 3
