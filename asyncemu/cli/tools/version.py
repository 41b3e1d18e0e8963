# SPDX-License-Identifier: GPL-2.0-or-later
"""Which release of QEMU's tools the tools are like."""

from __future__ import annotations

from typing import Final

#: What a script that asks for the version wants to know.
QEMU_VERSION: Final = "7.2.0"


def version_lines(first: str, tool: str) -> str:
    """What ``--version`` prints of ``tool`` (``qemu-io``); ``first`` is what stands before the number."""
    from asyncemu import __version__

    return (
        f"{first} {QEMU_VERSION} (asyncemu {__version__})\n"
        f"The command line of QEMU's {tool}, by asyncemu; GNU GPL, version 2 or later\n"
    )
