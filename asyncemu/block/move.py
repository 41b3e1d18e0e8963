# SPDX-License-Identifier: GPL-2.0-or-later
"""Moving block nodes to another context, under I/O. QEMU: bdrv_try_change_aio_context.

A request goes from node to node within one context, so all that are connected move together. They are drained first;
requests wait where they come from, in their order: in the rings of devices.
"""

from __future__ import annotations

import errno

from asyncemu.block.drain import BlockUser, connected, quiet, users_of
from asyncemu.block.node import BlockNode
from asyncemu.errors import BlockError
from asyncemu.loop import AioContext


async def move_nodes(node: BlockNode, context: AioContext, mover: BlockUser | None = None) -> None:
    """Make ``context`` the home of ``node`` and of all that is connected with it. From any context.

    ``mover`` is the user that moves there itself. BlockError when another one lives elsewhere, or when a driver can't
    work there (no io_uring, say): then all is as it was.
    """
    if node.context is context:
        return
    home = node.context
    nodes = connected(node)
    users = users_of(nodes)
    for user in users:
        if user is not mover and user.context is not context:
            raise BlockError(node.name, errno.EBUSY, f"is used by {user.id} in {user.context.name}, not moved")
    async with quiet(users):
        for each in nodes:
            await each.context.call(each.drain)
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


async def _move(node: BlockNode, context: AioContext) -> None:
    """One node, which is drained. OSError or BlockError: it is where it was."""
    home = node.context
    await home.call(node.detach_context)
    try:
        await context.call(lambda: node.attach_context(context))
    except BaseException:
        await home.call(lambda: node.attach_context(home))
        raise
