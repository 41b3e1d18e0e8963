# SPDX-License-Identifier: GPL-2.0-or-later
"""The netdev null."""

from __future__ import annotations

from asyncemu.loop import AioContext, Clocks
from asyncemu.net import connect
from asyncemu.net.null import Null, NullOptions
from asyncemu.testing.memory_wire import Wire


async def test_null_takes_all_and_gives_nothing(context: AioContext) -> None:
    netdev = Null(NullOptions(queues=2), "net0", context, Clocks())
    wires = [Wire(context) for _ in netdev.ports]
    for wire, port in zip(wires, netdev.ports, strict=True):
        connect(wire, port)
    await netdev.open()

    wires[0].feed(b"a" * 60, b"b" * 60)
    wires[1].feed(b"c" * 60)
    await netdev.close()

    assert netdev.taken == 3
    assert [list(wire.unsent) + wire.received for wire in wires] == [[], []]
