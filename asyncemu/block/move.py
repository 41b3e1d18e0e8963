# SPDX-License-Identifier: GPL-2.0-or-later
"""Block nodes get another home: all that are connected, with their BlockBackends. QEMU: bdrv_try_change_aio_context.

The whole tree goes, as a request passes through it without changing threads. Inside a drained section; all of it, or
nothing.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable

from asyncemu.block.backend import BlockBackend
from asyncemu.block.drain import backends_of, drained_all
from asyncemu.block.node import BlockNode
from asyncemu.block.order import connected
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext


async def move_nodes(node: BlockNode, context: AioContext, movers: Iterable[BlockBackend] = ()) -> None:
    """Make ``context`` the home of ``node`` and all that are connected to it, from any context.

    ``movers`` are those of their BlockBackends whose owners move there, too. BlockError when another one lives
    elsewhere, or when a driver can't work there (no io_uring, say): then all is as it was.
    """
    if node.context is context:
        return
    home = node.context
    nodes = connected(node)
    backends = backends_of(nodes)
    going = set(movers)
    for backend in backends:
        if backend not in going and backend.context is not context:
            raise BlockError(
                node.name, errno.EBUSY, f"is used by {backend.description} in {backend.context.name}, not moved"
            )
    async with drained_all(nodes):
        moved: list[BlockNode] = []
        try:
            for each in reversed(nodes):
                await _move(each, context)
                moved.append(each)
        except (OSError, BlockError) as error:
            for each in reversed(moved):
                await _move(each, home)
            number = error.errno or errno.EIO
            raise BlockError(node.name, number, f"can't be moved to {context.name}") from error
        for backend in backends:
            await backend.move(context)


async def _move(node: BlockNode, context: AioContext) -> None:
    """One node, which is drained. OSError or BlockError: it is where it was."""
    home = node.context
    await home.call(node.detach_context)
    try:
        await context.call(lambda: node.attach_context(context))
    except BaseException:
        await home.call(lambda: node.attach_context(home))
        raise
