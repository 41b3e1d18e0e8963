# SPDX-License-Identifier: GPL-2.0-or-later
"""break, remove_break, resume, wait_break: requests that stop at a point that blkdebug knows.

Where qemu-io would wait for ever, for a request that nobody has made, ours says so.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from asyncemu.cli.io.command import CommandFailed, Invocation
from asyncemu.cli.io.failing import error_text
from asyncemu.errors import AsyncemuError

if TYPE_CHECKING:
    from asyncemu.block.blkdebug import BlkdebugDriver
    from asyncemu.cli.io.exerciser import Exerciser


async def set_breakpoint(exerciser: Exerciser, line: Invocation) -> None:
    """The next request that passes an event stops."""
    event, tag = line.words
    with _could_not("set breakpoint"):
        _blkdebug(exerciser).debug_breakpoint(event, tag)
    exerciser.tags.add(tag)


async def remove_breakpoint(exerciser: Exerciser, line: Invocation) -> None:
    """None does; those that stand there go on."""
    (tag,) = line.words
    with _could_not(f"remove breakpoint {tag}"):
        _blkdebug(exerciser).debug_remove_breakpoint(tag)


async def resume(exerciser: Exerciser, line: Invocation) -> None:
    """One that stands there goes on."""
    (tag,) = line.words
    with _could_not("resume request"):
        _blkdebug(exerciser).debug_resume(tag)


async def wait_for_breakpoint(exerciser: Exerciser, line: Invocation) -> None:
    """Until one stands there."""
    (tag,) = line.words
    with _could_not(f"wait for breakpoint {tag}"):
        driver = _blkdebug(exerciser)
    loop = asyncio.get_running_loop()
    stands = loop.create_task(driver.debug_wait_suspended(tag))
    ended = loop.create_task(exerciser.wait_for_requests())
    try:
        await asyncio.wait({stands, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not driver.debug_is_suspended(tag):
            raise CommandFailed(f"Could not wait for breakpoint {tag}: no request is under way")
    finally:
        stands.cancel()
        ended.cancel()
        await asyncio.wait({stands, ended})


def release(exerciser: Exerciser) -> None:
    """No request stands anywhere any more: the image is about to be closed, which waits for them."""
    from asyncemu.block.blkdebug import blkdebug_below

    driver = blkdebug_below(exerciser.backend.node)
    if driver is None:
        return
    for tag in sorted(exerciser.tags):
        try:
            driver.debug_remove_breakpoint(tag)
        except OSError:
            pass  # nothing is there


def _blkdebug(exerciser: Exerciser) -> BlkdebugDriver:
    from asyncemu.block.blkdebug import blkdebug_below

    driver = blkdebug_below(exerciser.backend.node)
    if driver is None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
    return driver


@contextmanager
def _could_not(what: str) -> Iterator[None]:
    try:
        yield
    except (AsyncemuError, OSError) as error:
        raise CommandFailed(f"Could not {what}: {error_text(error)}") from error
