# SPDX-License-Identifier: GPL-2.0-or-later
"""One tool from its first coroutine to its exit status.

    async def main(session: ToolSession) -> int: ...
    status = run_tool(main)

The session has an AioContext, a BlockGraph, and what ``--object`` defined; the graph is closed at the end, whatever
happens. An error that somebody expected (AsyncemuError, OSError) is one line on stderr and exit status 1.

A tool is small: plain asyncio, whose loop is there at once, serves most of them better than uvloop, whose import takes
longer than their work. Those that move gigabytes say so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from asyncemu.block.graph import BlockGraph
from asyncemu.cli.tools.complaints_later import ComplaintsLater
from asyncemu.cli.tools.failure import fail
from asyncemu.cli.tools.objects import UserObjects, secret
from asyncemu.cli.tools.startup import imported
from asyncemu.errors import AsyncemuError
from asyncemu.loop import AioContext

#: A main coroutine's type.
ToolMain = Callable[["ToolSession"], Coroutine[Any, Any, int]]


class ToolSession:
    """What a tool's main coroutine works with. ConfigError, ToolError: an object makes no sense."""

    def __init__(self, context: AioContext, objects: UserObjects) -> None:
        self.context = context
        self.graph = BlockGraph(context)
        self.objects = objects
        for each in objects.all("secret"):
            self.graph.secrets[each.identity] = secret(each)
        for each in objects.all("throttle-group"):
            from asyncemu.block.throttle.registry import limits_of_object

            limits = limits_of_object(each.properties, each.identity)
            self.graph.throttle_groups.add(each.identity, limits, each.identity)
        for each in objects.all("tls-creds-x509"):
            from asyncemu.cli.tools.tls_objects import credentials_of

            self.graph.tls_credentials[each.identity] = credentials_of(each)


def run_tool(
    main: ToolMain, objects: UserObjects | None = None, *, throughput: bool = False, copies: bool = False
) -> int:
    """Run ``main``; the exit status.

    ``throughput``: on uvloop, where it is installed. ``copies``: it copies, and nothing waits for anything else.
    """
    imported()
    complaints = ComplaintsLater()
    loop = _uvloop() if throughput else asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_run(main, objects or UserObjects(), loop, copies=copies))
    except BaseExceptionGroup as several:
        expected, unexpected = several.split((AsyncemuError, OSError))
        if unexpected is not None:
            raise
        return fail(expected or several)
    except (AsyncemuError, OSError) as error:
        return fail(error)
    finally:
        loop.close()
        complaints.end()


async def _run(main: ToolMain, objects: UserObjects, loop: asyncio.AbstractEventLoop, *, copies: bool) -> int:
    context = AioContext(loop, "main")
    try:
        session = ToolSession(context, objects)
        session.graph.writes_in_place = copies
        try:
            status = await main(session)
        except (AsyncemuError, OSError) as error:
            # Said first: closing may have something to say, too.
            status = fail(error)
        except BaseException:
            await session.graph.close()
            raise
        return await _close(session.graph) or status
    finally:
        context.close()


async def _close(graph: BlockGraph) -> int:
    """Close all images; 1 when what was written to one of them may be lost."""
    status = 0
    try:
        await graph.close()
    except* (AsyncemuError, OSError) as errors:
        status = fail(errors)
    return status


def _uvloop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
