# SPDX-License-Identifier: GPL-2.0-or-later
"""What a request's error becomes: ``read failed: Input/output error``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from asyncemu.cli.io.command import CommandFailed
from asyncemu.cli.tools.failure import errno_of
from asyncemu.errors import AsyncemuError


def error_text(error: BaseException) -> str:
    """The C library's words for the errno of ``error``."""
    return os.strerror(errno_of(error))


@contextmanager
def failing(what: str) -> Iterator[None]:
    """Errors of the block layer within end the command with the line ``WHAT failed: ...``."""
    try:
        yield
    except (AsyncemuError, OSError) as error:
        raise CommandFailed(f"{what} failed: {error_text(error)}") from error
