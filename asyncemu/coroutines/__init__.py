# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutines that begin in place: the requests of devices and block nodes; and the locks between them."""

from asyncemu.coroutines.coroutine import Coroutine, start
from asyncemu.coroutines.fd import co_recvv, co_sendv, yield_until_fd_readable, yield_until_fd_writable
from asyncemu.coroutines.misuse import CoroutineMisuse
from asyncemu.coroutines.mutex import CoMutex
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
