# SPDX-License-Identifier: GPL-2.0-or-later
"""asyncemu: a machine emulator whose heart is Python's own event loop.

async with asyncemu.Machine("vm.toml") as vm:       # see asyncemu.api
    await vm.run("uname -a")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncemu.api import Machine as Machine

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``Machine`` is imported when it is asked for: the tools import this package too, and start in no time."""
    if name == "Machine":
        from asyncemu.api import Machine

        return Machine
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
