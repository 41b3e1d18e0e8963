# SPDX-License-Identifier: GPL-2.0-or-later
"""Ctrl-A s: what the guest has written is made safe on all disks, whether the guest has asked for that or not."""

from __future__ import annotations

import logging
from typing import Final

from asyncemu.block import BlockGraph
from asyncemu.errors import BlockError

logger: Final = logging.getLogger("asyncemu.machine")


async def save_disks(graph: BlockGraph) -> None:
    """Flush all block nodes, each at its home; an error is logged, and the next one flushed all the same."""
    for node in list(graph.nodes.values()):
        if node.closed:
            continue
        try:
            await node.context.call(node.flush)
        except BlockError as error:
            logger.error("%s", error)
