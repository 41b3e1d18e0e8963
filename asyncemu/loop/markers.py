# SPDX-License-Identifier: GPL-2.0-or-later
"""Which thread may call a method: the first of the six rules, written at each public method.

    @home           only the thread of the object's home context
    @any_thread     any thread, at any time
    @vcpu_thread    only a vCPU thread (it may be made to wait)

With ``ASYNCEMU_DEBUG=1`` in the environment at import, as in the whole test suite, ``@home`` and ``@vcpu_thread`` are
asserted: of a plain method at each call, of an async one when its body begins, wherever it was called. Otherwise a
marker is a note for the reader and costs nothing.

An object with ``@home`` methods has an attribute ``context``: its AioContext. A class that others derive from is a
``HasHome``: a method that overrides a marked one is then held to that mark, whether its author knows of marks or not.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, NoReturn, TypeVar

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

DEBUG: Final = os.environ.get("ASYNCEMU_DEBUG", "") not in ("", "0")

#: What each WrongThread said, and where: also those that a caller swallowed or a thread died of.
violations: Final[list[str]] = []

_vcpu_threads: Final = threading.local()


class WrongThread(AssertionError):
    """A method was called from a thread that its marker does not allow: a bug in the caller."""


def home(function: FunctionT) -> FunctionT:
    """Mark a method that only its object's home context may call."""
    return _marked(function, "home")


def any_thread(function: FunctionT) -> FunctionT:
    """Mark a method that any thread may call."""
    return _marked(function, "any_thread")


def vcpu_thread(function: FunctionT) -> FunctionT:
    """Mark a method that only a vCPU thread may call: it may wait for a home context."""
    return _marked(function, "vcpu_thread")


def enter_vcpu_thread() -> None:
    """Declare the calling thread a vCPU thread (vcpu.VCpu and asyncemu.testing do)."""
    _vcpu_threads.active = True


def leave_vcpu_thread() -> None:
    """Take the declaration back."""
    _vcpu_threads.active = False


def in_vcpu_thread() -> bool:
    """Is the calling thread a vCPU thread?"""
    return getattr(_vcpu_threads, "active", False)


class HasHome:
    """Base of classes with a home that others derive from. Without ASYNCEMU_DEBUG it does nothing."""

    __slots__ = ()

    if DEBUG:

        def __init_subclass__(cls, **arguments: Any) -> None:
            super().__init_subclass__(**arguments)
            _inherit_marks(cls)


def mark_of(cls: type, name: str) -> str:
    """How the method or the property's setter ``name`` of ``cls`` is marked, itself or what it overrides; "": not."""
    for base in cls.__mro__:
        member = base.__dict__.get(name)
        mark = getattr(member.fset if isinstance(member, property) else member, "__run_context__", "")
        if mark:
            return str(mark)
    return ""


def _inherit_marks(cls: type) -> None:
    for name, member in list(cls.__dict__.items()):
        mark = mark_of(cls, name)
        if not mark:
            continue
        if isinstance(member, property):
            if isinstance(member.fset, FunctionType):
                setattr(cls, name, member.setter(_marked(member.fset, mark)))
        elif isinstance(member, FunctionType):
            setattr(cls, name, _marked(member, mark))


# ---- the checks


def _marked(function: FunctionT, mark: str) -> FunctionT:
    if hasattr(function, "__run_context__"):
        return function  # marked by its author, who may know better than whoever wrote what it overrides
    function.__run_context__ = mark  # type: ignore[attr-defined]
    check = _CHECKS.get(mark)
    if not DEBUG or check is None:
        return function

    checked: Callable[..., Any]
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            check(self, function)
            return await function(self, *args, **kwargs)

    else:
        # A generator's body begins later, but those that we have run where they were made.
        @functools.wraps(function)
        def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
            check(self, function)
            return function(self, *args, **kwargs)

    return checked  # type: ignore[return-value]


def _check_home(self: Any, function: Callable[..., Any]) -> None:
    if not self.context.in_home():
        _wrong(f"{type(self).__name__}.{function.__name__} belongs to {self.context!r}")


def _check_vcpu_thread(self: Any, function: Callable[..., Any]) -> None:
    if not in_vcpu_thread():
        _wrong(f"{type(self).__name__}.{function.__name__} is for vCPU threads")


_CHECKS: Final = {"home": _check_home, "vcpu_thread": _check_vcpu_thread}


def _wrong(rule: str) -> NoReturn:
    message = f"{rule}, called from thread {threading.current_thread().name!r}"
    caller = sys._getframe(3)  # of the method, by way of the wrapper and the check
    violations.append(f"{message} ({caller.f_code.co_filename}:{caller.f_lineno})")
    raise WrongThread(message)
