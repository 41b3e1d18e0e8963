# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules of the standard library that asyncio imports and a tool rarely needs, imported when they are first used.

Why: ``ssl`` (OpenSSL has itself initialized), asyncio's use of it, and ``inspect`` (with ``ast`` and ``dis``) are a
sixth of the time in which a tool starts, and most tools end without a look at them.

``put_off`` puts a module object of each name into ``sys.modules`` that has nothing in it. The first access to an
attribute that is not there runs the module's code in that same object. ``complete_asyncio`` follows when asyncio has
been imported.

- The object is the module from then on: there is never a second one, and who has it already has the whole.
- A module that has been imported already is left alone.
- The first access may come from any thread; others wait until the code has been run. (Its imports take Python's import
  locks while ours is held; none of these modules is imported by a module that accesses it while it is being imported.)
- An exception of the code comes out of the access, and the next access tries again.
- ``import name``, ``from package import name`` and ``package.name`` find the object; ``from name import attribute`` is
  an access.

It is for the process of a tool only, which is nobody's library. The standard library has importlib.util.LazyLoader,
whose import costs a third of what is saved, and which is not for several threads.
"""

from __future__ import annotations

import sys
from _thread import RLock
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

#: In any order. asyncio.sslproto, because it accesses ssl while it is imported itself.
_LATE: Final = ("ssl", "inspect", "asyncio.sslproto")

_lock: Final = RLock()

#: Those whose code is being run.
_running: Final[set[str]] = set()


class _LateModule(ModuleType):
    """Its code has not been run."""

    def __getattr__(self, name: str) -> object:
        """Called for what is not there."""
        with _lock:
            if type(self) is _LateModule and self.__name__ not in _running:
                _run(self)
        return self.__getattribute__(name)


def put_off() -> None:
    """See above. Nothing is put off in a process that has asyncio already."""
    if "asyncio" not in sys.modules:
        for name in _LATE:
            if name not in sys.modules:
                _put_off(name)


def complete_asyncio() -> None:
    """Let ``asyncio.sslproto`` be found as an attribute, which its own import would have made it."""
    import asyncio

    for name in _LATE:
        package, _, own_name = name.rpartition(".")
        if package == "asyncio" and not hasattr(asyncio, own_name):
            setattr(asyncio, own_name, sys.modules[name])


def _put_off(name: str) -> None:
    package, _, _ = name.rpartition(".")
    # Not imported for that: its own import is what is to find the module.
    whole = _find(package, None) if package else None
    spec = _find(name, whole.submodule_search_locations if whole is not None else None)
    if spec is None or spec.loader is None:
        return
    module = _LateModule(name)
    module.__spec__ = spec
    module.__loader__ = spec.loader
    module.__package__ = package
    module.__file__ = spec.origin
    sys.modules[name] = module


def _find(name: str, path: list[str] | None) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, path)
        if spec is not None:
            return spec
    return None


def _run(module: _LateModule) -> None:
    spec = module.__spec__
    assert spec is not None
    assert spec.loader is not None
    _running.add(module.__name__)
    try:
        spec.loader.exec_module(module)
        module.__class__ = ModuleType  # type: ignore[assignment]  # nothing is missing any more
    finally:
        _running.discard(module.__name__)
