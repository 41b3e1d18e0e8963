# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutines that begin in place: the requests of devices and block nodes; and the locks between them.

What a disk image tool, which is to start fast, rarely uses is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

from asyncemu.coroutines.coroutine import Coroutine, start
from asyncemu.coroutines.misuse import CoroutineMisuse
from asyncemu.coroutines.mutex import CoMutex

if TYPE_CHECKING:
    from asyncemu.coroutines.fd import co_recvv, co_sendv, yield_until_fd_readable, yield_until_fd_writable
    from asyncemu.coroutines.queue import CoQueue
    from asyncemu.coroutines.rate_limit import RateLimit
    from asyncemu.coroutines.rwlock import CoRwlock
    from asyncemu.coroutines.shared_resource import SharedResource
    from asyncemu.coroutines.sleep import CoSleep, co_sleep_ns, co_timeout
    from asyncemu.coroutines.switching import co_yield, coroutine_self, in_coroutine, reschedule_self
    from asyncemu.coroutines.task_pool import AioTaskPool

__all__ = [
    "AioTaskPool",
    "CoMutex",
    "CoQueue",
    "CoRwlock",
    "CoSleep",
    "Coroutine",
    "CoroutineMisuse",
    "RateLimit",
    "SharedResource",
    "co_recvv",
    "co_sendv",
    "co_sleep_ns",
    "co_timeout",
    "co_yield",
    "coroutine_self",
    "in_coroutine",
    "reschedule_self",
    "start",
    "yield_until_fd_readable",
    "yield_until_fd_writable",
]

#: Name and module of what is imported late.
_LATE: Final = {
    "co_recvv": "fd",
    "co_sendv": "fd",
    "yield_until_fd_readable": "fd",
    "yield_until_fd_writable": "fd",
    "CoQueue": "queue",
    "RateLimit": "rate_limit",
    "CoRwlock": "rwlock",
    "SharedResource": "shared_resource",
    "CoSleep": "sleep",
    "co_sleep_ns": "sleep",
    "co_timeout": "sleep",
    "co_yield": "switching",
    "coroutine_self": "switching",
    "in_coroutine": "switching",
    "reschedule_self": "switching",
    "AioTaskPool": "task_pool",
}


def __getattr__(name: str) -> object:
    """PEP 562."""
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
    globals()[name] = found
    return found
