# SPDX-License-Identifier: GPL-2.0-or-later
"""qmp_capabilities: the command that a QMP session begins with."""

from __future__ import annotations

from typing import Literal

from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import CommandNotFound
from asyncemu.wire_model import WireModel


class QmpCapabilities(WireModel):
    """What the client wants of what the greeting offers."""

    enable: list[Literal["oob"]] | None = None


@command("qmp_capabilities")
async def qmp_capabilities(call: Call, arguments: QmpCapabilities) -> None:
    """Known to all; obeyed by a session that has just begun, before commands are looked for (qmp/session.py)."""
    raise CommandNotFound("Capabilities negotiation is already complete, command ignored")
