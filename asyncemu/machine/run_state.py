# SPDX-License-Identifier: GPL-2.0-or-later
"""What a machine is doing, why it ended, and what follows when its guest reboots, powers off or panics.

                                     +--stop--> PAUSED, IO_ERROR --+
    PRELAUNCH --start or cont--> RUNNING <------------cont---------+
        ^                            |
        |                            +--> SHUTDOWN, GUEST_PANICKED, INTERNAL_ERROR --> the end, if ActionOptions say so
        +--reset-- all but RUNNING, which stays RUNNING

QEMU: RunState, -action.
"""

from __future__ import annotations

import enum
from typing import Final, Literal

from pydantic import Field

from asyncemu.options import Options


class RunState(enum.Enum):
    """QEMU's RunState names."""

    PRELAUNCH = "prelaunch"
    RUNNING = "running"
    PAUSED = "paused"
    IO_ERROR = "io-error"
    SHUTDOWN = "shutdown"
    GUEST_PANICKED = "guest-panicked"
    INTERNAL_ERROR = "internal-error"


#: The guest is done for until it is reset.
NEEDS_RESET: Final = frozenset({RunState.SHUTDOWN, RunState.INTERNAL_ERROR})


class ExitReason(enum.Enum):
    """Why a machine ended."""

    GUEST_SHUTDOWN = "guest-shutdown"
    #: The guest said that something is wrong, or can't go on.
    GUEST_FAILURE = "guest-failure"
    #: The user ended it from outside (Ctrl-A x).
    QUIT = "quit"


class ActionOptions(Options):
    """[machine] action: what follows when the guest does these things; QMP's set-action changes it."""

    reboot: Literal["reset", "shutdown"] = Field(default="reset", description="It reboots: do so, or shut down.")
    shutdown: Literal["poweroff", "pause"] = Field(
        default="poweroff", description="It shuts down: end the machine, or pause."
    )
    panic: Literal["pause", "shutdown", "exit-failure", "none"] = Field(
        default="exit-failure", description="It fails: pause, end the machine, end it with a failure, or nothing."
    )
