# SPDX-License-Identifier: GPL-2.0-or-later
"""Which thread may call a method: the first of the six rules, written at each public method.

    @home           only the thread of the object's home context
    @any_thread     any thread, at any time
    @vcpu_thread    only a vCPU thread (it may be made to wait)

With ``ASYNCEMU_DEBUG=1`` in the environment at import, as in the whole test suite, ``@home`` and ``@vcpu_thread`` are
asserted at each call. Otherwise a marker is a note for the reader and costs nothing.
An object with ``@home`` methods has an attribute ``context``: its AioContext.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

DEBUG: Final = os.environ.get("ASYNCEMU_DEBUG", "") not in ("", "0")

_vcpu_threads: Final = threading.local()


class WrongThread(AssertionError):
    """A method was called from a thread that its marker does not allow: a bug in the caller."""


def home(function: FunctionT) -> FunctionT:
    """Mark a method that only its object's home context may call."""
    function.__run_context__ = "home"  # type: ignore[attr-defined]
    if not DEBUG:
        return function

    @functools.wraps(function)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.context.in_home():
            raise WrongThread(
                f"{type(self).__name__}.{function.__name__} belongs to {self.context!r}, "
                f"called from thread {threading.current_thread().name!r}"
            )
        return function(self, *args, **kwargs)

    return checked  # type: ignore[return-value]


def any_thread(function: FunctionT) -> FunctionT:
    """Mark a method that any thread may call."""
    function.__run_context__ = "any_thread"  # type: ignore[attr-defined]
    return function


def vcpu_thread(function: FunctionT) -> FunctionT:
    """Mark a method that only a vCPU thread may call: it may wait for a home context."""
    function.__run_context__ = "vcpu_thread"  # type: ignore[attr-defined]
    if not DEBUG:
        return function

    @functools.wraps(function)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not in_vcpu_thread():
            raise WrongThread(
                f"{type(self).__name__}.{function.__name__} is for vCPU threads, "
                f"called from thread {threading.current_thread().name!r}"
            )
        return function(self, *args, **kwargs)

    return checked  # type: ignore[return-value]


def enter_vcpu_thread() -> None:
    """Declare the calling thread a vCPU thread (vcpu.VCpu and asyncemu.testing do)."""
    _vcpu_threads.active = True


def leave_vcpu_thread() -> None:
    """Take the declaration back."""
    _vcpu_threads.active = False


def in_vcpu_thread() -> bool:
    """Is the calling thread a vCPU thread?"""
    return getattr(_vcpu_threads, "active", False)
