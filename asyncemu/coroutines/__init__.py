# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutines that begin in place: the requests of devices and block nodes; and the locks between them."""

from asyncemu.coroutines.coroutine import (
    Coroutine,
    co_yield,
    coroutine_self,
    in_coroutine,
    reschedule_self,
    start,
)
from asyncemu.coroutines.misuse import CoroutineMisuse
from asyncemu.coroutines.mutex import CoMutex

__all__ = [
    "CoMutex",
    "Coroutine",
    "CoroutineMisuse",
    "co_yield",
    "coroutine_self",
    "in_coroutine",
    "reschedule_self",
    "start",
]
