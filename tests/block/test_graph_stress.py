# SPDX-License-Identifier: GPL-2.0-or-later
"""No request is lost or doubled while the graph under it is drained, reopened, filtered, moved, and made to fail."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from asyncemu.block import BlockGraph
from asyncemu.loop import AioContext, IOThread
from tests.block.graph_stress import World


async def run(seeds: range, context: AioContext, iothreads: list[IOThread], directory: Path) -> Counter[str]:
    """A world for each seed; what was done in all of them."""
    did: Counter[str] = Counter()
    contexts = [context, *(thread.aio_context for thread in iothreads)]
    for seed in seeds:
        graph = BlockGraph(context, directory)
        world = World(seed, graph, contexts, directory)
        try:
            await world.run()
            await graph.close()
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
        did += world.did
    return did


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(5))
async def test_no_request_is_lost_or_doubled_in_10_worlds(
    context: AioContext, iothreads: list[IOThread], tmp_path: Path, batch: int
) -> None:
    did = await run(range(batch * 10, batch * 10 + 10), context, iothreads, tmp_path)
    assert min(did[act] for act in ("drain", "reopen", "insert", "take_out", "move", "rebase", "visit")) > 0
    assert min(did[act] for act in ("cancelled", "refused")) > 0


@pytest.mark.soak
@pytest.mark.parametrize("batch", range(20))
async def test_no_request_is_lost_or_doubled_in_1000_worlds(
    context: AioContext, iothreads: list[IOThread], tmp_path: Path, batch: int
) -> None:
    await run(range(1000 + batch * 50, 1000 + batch * 50 + 50), context, iothreads, tmp_path)
