# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for a descriptor, and whole transfers over a socket. QEMU: yield_until_fd_readable, qemu_co_sendv_recvv.

Each direction of a descriptor is for one waiter at a time; one may receive while another sends. The handler is there
only while somebody waits, and is gone when the waiter is cancelled.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from asyncemu.coroutines.waiter import Waiter

#: Buffers of one call, at most: the kernel's limit.
IOV_MAX: Final = os.sysconf("SC_IOV_MAX")


async def yield_until_fd_readable(fd: int) -> None:
    """Return when ``fd`` has something to read, its end or an error included."""
    loop = asyncio.get_running_loop()
    await _until_ready(fd, loop.add_reader, loop.remove_reader)


async def yield_until_fd_writable(fd: int) -> None:
    """Return when ``fd`` takes something, or has an error."""
    loop = asyncio.get_running_loop()
    await _until_ready(fd, loop.add_writer, loop.remove_writer)


async def _until_ready(fd: int, add: Callable[..., Any], remove: Callable[[int], Any]) -> None:
    # Of the loop, and not set_fd_handler: that is for both directions at once.
    waiter = Waiter()
    add(fd, waiter.wake)
    try:
        await waiter.wait()
    finally:
        remove(fd)


async def co_recvv(sock: socket.socket, buffers: Sequence[memoryview]) -> int:
    """Fill ``buffers`` from a non-blocking socket; how many bytes came, fewer than asked for only at the stream's end.

    OSError: as recvmsg(2); what came before is in the buffers. QEMU: qemu_co_recvv.
    """
    return await _transfer(sock, buffers, lambda some: sock.recvmsg_into(some)[0], yield_until_fd_readable)


async def co_sendv(sock: socket.socket, buffers: Sequence[memoryview]) -> int:
    """Send all of ``buffers`` over a non-blocking socket; how many bytes that was. OSError: as sendmsg(2).

    QEMU: qemu_co_sendv.
    """
    return await _transfer(sock, buffers, sock.sendmsg, yield_until_fd_writable)


async def _transfer(
    sock: socket.socket,
    buffers: Sequence[memoryview],
    attempt: Callable[[list[memoryview]], int],
    until_ready: Callable[[int], Awaitable[None]],
) -> int:
    if sock.gettimeout() != 0:
        raise ValueError(f"{sock!r} is blocking")
    # Without the empty ones: nothing received into nothing is not the end of the stream.
    rest = deque(buffer.cast("B") for buffer in buffers if buffer.nbytes)
    done = 0
    while rest:
        try:
            moved = attempt([rest[index] for index in range(min(len(rest), IOV_MAX))])
        except BlockingIOError:
            await until_ready(sock.fileno())
            continue
        if not moved:
            break
        done += moved
        while moved and moved >= len(rest[0]):
            moved -= len(rest.popleft())
        if moved:
            rest[0] = rest[0][moved:]
    return done
