# SPDX-License-Identifier: GPL-2.0-or-later
"""A bound for what an input may make us allocate."""

from __future__ import annotations

import resource
from typing import Final

#: Address space of a process, in bytes: beyond it an allocation fails with MemoryError, which is a defect. What the
#: interpreter, its threads and atheris take is far less than half of it.
MEMORY_LIMIT: Final = 4 << 30


def limit_memory() -> None:
    """For this process, from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(MEMORY_LIMIT, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
