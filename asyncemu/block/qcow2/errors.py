# SPDX-License-Identifier: GPL-2.0-or-later
"""BadImage: what parsers of the format raise about what is in a file; and numbers in messages."""

from __future__ import annotations

import errno


class BadImage(Exception):
    """The bytes at ``offset`` of the file are not what the format wants; ``problem`` is QEMU's text."""

    def __init__(self, offset: int, problem: str, number: int = errno.EINVAL) -> None:
        self.offset = offset
        self.problem = problem
        #: An errno.
        self.errno = number
        super().__init__(f"offset {offset}: {problem}")


def c_hex(value: int) -> str:
    """As C's ``%#x``: QEMU's messages have no ``0x0``."""
    return f"{value:#x}" if value else "0"
