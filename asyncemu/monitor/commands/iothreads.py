# SPDX-License-Identifier: GPL-2.0-or-later
"""The iothreads; their parameters are changed by qom-set on /objects/ID."""

from __future__ import annotations

from asyncemu.monitor.command import Call, command
from asyncemu.wire_model import WireModel


class IOThreadInfo(WireModel):
    """QEMU: IOThreadInfo."""

    id: str
    #: As the kernel numbers threads.
    thread_id: int
    poll_max_ns: int
    poll_grow: int
    poll_shrink: int
    aio_max_batch: int


@command("query-iothreads")
async def query_iothreads(call: Call) -> list[IOThreadInfo]:
    """Those of the user."""
    return [
        IOThreadInfo(
            id=id,
            thread_id=iothread.thread_id,
            poll_max_ns=iothread.parameters.poll_max_ns,
            poll_grow=iothread.parameters.poll_grow,
            poll_shrink=iothread.parameters.poll_shrink,
            aio_max_batch=iothread.parameters.aio_max_batch,
        )
        for id, iothread in call.control.machine.iothreads.items()
    ]
