# SPDX-License-Identifier: GPL-2.0-or-later
"""The commands, a file a subject; here is which module has which."""

from __future__ import annotations

from typing import Final

_HERE: Final = "asyncemu.monitor.commands"

#: Per module of this package: its commands.
_MODULES: Final[dict[str, tuple[str, ...]]] = {
    "running": ("query-status", "stop", "cont", "system_reset", "system_powerdown", "quit"),
    "about": ("query-version", "query-name", "query-uuid", "query-kvm"),
}

#: Name of a command to the module that defines it.
COMMANDS: Final = {name: f"{_HERE}.{module}" for module, names in _MODULES.items() for name in names}
