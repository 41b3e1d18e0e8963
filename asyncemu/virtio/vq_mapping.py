# SPDX-License-Identifier: GPL-2.0-or-later
"""iothread-vq-mapping: which iothread serves which queue. QEMU: hw/virtio/iothread-vq-mapping.c."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from asyncemu.options import Options
from asyncemu.plugins import Reference


class VqMapping(Options):
    """One iothread and the queues that it serves."""

    iothread: Annotated[str, Reference("iothread"), Field(description="Who serves them.")]
    vqs: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, description="Numbers of the queues; left out in all entries: in turn."
    )


def iothread_of_each_queue(mapping: Sequence[VqMapping], queues: int) -> list[str]:
    """Ids of the iothreads, by queue number. ValueError with what is wrong."""
    names = [entry.iothread for entry in mapping]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"names {name!r} twice; write its queues in one entry")
    without = [entry.iothread for entry in mapping if entry.vqs is None]
    if without:
        if len(without) < len(mapping):
            raise ValueError(f"gives vqs for some iothreads and none for {without[0]!r}; give them for all or for none")
        return [names[index % len(names)] for index in range(queues)]
    owners: dict[int, str] = {}
    for entry in mapping:
        for queue in entry.vqs or ():
            if queue >= queues:
                raise ValueError(f"names queue {queue}; num-queues is {queues}, so the last one is {queues - 1}")
            if queue in owners:
                raise ValueError(f"gives queue {queue} to {owners[queue]!r} and to {entry.iothread!r}")
            owners[queue] = entry.iothread
    for queue in range(queues):
        if queue not in owners:
            raise ValueError(f"gives queue {queue} to no iothread")
    return [owners[queue] for queue in range(queues)]
