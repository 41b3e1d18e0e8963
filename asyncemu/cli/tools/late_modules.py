# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules of the standard library that asyncio imports and a tool rarely needs, imported when they are first used.

Why: ``ssl`` (OpenSSL has itself initialized), ``inspect`` (with ``ast`` and ``dis``), ``linecache``, ``subprocess``,
``logging`` and parts of asyncio are a quarter of the time in which a tool starts, and most tools end without a look at
them.

``put_off`` has Python's import of each name make a module object that has nothing in it, but for a few values that
other modules take from it while they are imported themselves. The first access to an attribute that is not there runs
the module's code in that same object.

- The object is the module from then on: there is never a second one, and who has it already has the whole.
- A module that has been imported already is left alone.
- The first access may come from any thread; others wait until the code has been run. (Its imports take Python's import
  locks while ours is held; none of these modules is imported by a module that accesses it while it is being imported.)
- An exception of the code comes out of the access, and the next access tries again.
- ``import name``, ``from package import name`` and ``package.name`` find the object; ``from name import attribute`` is
  an access.
- What ``asyncio`` would have of its late parts (``asyncio.timeout``) it gets from them when it is asked.
- A logger that somebody gets before ``logging`` has been run stands for the real one from then on. Until then nobody
  can have set a level or a handler, and the root's level drops what is below a warning: so does ``debug``.

It is for the process of a tool only, which is nobody's library. The standard library has importlib.util.LazyLoader,
whose import costs a third of what is saved, and which is not for several threads.
"""

from __future__ import annotations

import sys
from _thread import RLock
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from importlib.abc import Loader
else:
    Loader = object  # importlib.abc takes long to import


class _LateLogger:
    """``logging.getLogger(name)``, for who asks while it is imported itself and logs later."""

    def __init__(self, name: str) -> None:
        self._name = name

    def debug(self, *arguments: object, **options: object) -> None:
        """asyncio tells which selector it uses, each time."""
        import logging

        if type(logging) is not _LateModule:
            logging.getLogger(self._name).debug(*arguments, **options)  # type: ignore[arg-type]

    def __getattr__(self, name: str) -> object:
        import logging

        # Not ``logging.getLogger``: that is there, and is this class, until the code has been run.
        return getattr(logging.Logger.manager.getLogger(self._name), name)


#: Parts of asyncio that nothing but ``asyncio`` itself imports. What is most often wanted of them comes first.
_PARTS: Final = ("timeouts", "threads", "queues", "taskgroups", "runners", "streams", "subprocess")

#: What each has before its code is run: what its importers take from it at once.
_LATE: Final[Mapping[str, Mapping[str, object]]] = {
    "ssl": {},
    "inspect": {},
    "textwrap": {},
    "linecache": {},
    # asyncio keeps a logger, and has a level of its own.
    "logging": {"getLogger": _LateLogger, "DEBUG": 10},
    # A package; it takes what it needs of logging at once. asyncio.tasks takes these.
    "concurrent.futures": {name: name for name in ("FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED")},
    # Default arguments in asyncio.base_events.
    "subprocess": {"PIPE": -1, "STDOUT": -2, "DEVNULL": -3},
    # It accesses ssl while it is imported itself.
    "asyncio.sslproto": {},
    "asyncio.staggered": {},
    # asyncio adds them up.
    **{f"asyncio.{part}": {"__all__": ()} for part in _PARTS},
}

_lock: Final = RLock()

#: Those whose code is being run.
_running: Final[set[str]] = set()

#: By module: to be called when its code has been run.
_waiting: Final[dict[str, list[Callable[[], object]]]] = {}


def put_off() -> None:
    """See above. Nothing is put off in a process that has asyncio already."""
    if "asyncio" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


def when_run(name: str, function: Callable[[], object]) -> None:
    """Call ``function`` when the code of the module ``name`` has been run: at once, unless it is put off still.

    By the thread that runs it, before anybody else finds it whole.
    """
    with _lock:
        if type(sys.modules.get(name)) is _LateModule:
            _waiting.setdefault(name, []).append(function)
            return
    function()


class _LateModule(ModuleType):
    """Its code has not been run."""

    def __getattr__(self, name: str) -> object:
        """Called for what is not there."""
        with _lock:
            # The import system asks each for __path__, which packages have already, and the others never.
            if name != "__path__" and type(self) is _LateModule and self.__name__ not in _running:
                _run(self)
        return self.__getattribute__(name)


def _run(module: _LateModule) -> None:
    spec = module.__spec__
    assert spec is not None
    assert spec.loader is not None
    _running.add(module.__name__)
    try:
        spec.loader.exec_module(module)
        module.__class__ = ModuleType  # type: ignore[assignment]  # nothing is missing any more
        for function in _waiting.pop(module.__name__, ()):
            function()
    finally:
        _running.discard(module.__name__)


class _Finder:
    """Stands before Python's own finders."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As the import system asks for it; None: not for us."""
        if name not in _LATE and name != "asyncio":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _AsyncioLoader(spec.loader) if name == "asyncio" else _LateLoader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """In the place of the module's own."""

    def __init__(self, whole: Loader) -> None:
        self._whole = whole

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the own loader does."""
        return self._whole.create_module(spec)

    def step_aside(self, module: ModuleType) -> None:
        """The module is as its own loader has made it."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._whole


class _LateLoader(_Loader):
    """Leaves the module empty."""

    def exec_module(self, module: ModuleType) -> None:
        self.step_aside(module)
        vars(module).update(_LATE[module.__name__])
        module.__class__ = _LateModule


class _AsyncioLoader(_Loader):
    """Lets asyncio have what its late parts have."""

    def exec_module(self, module: ModuleType) -> None:
        self.step_aside(module)
        self._whole.exec_module(module)
        vars(module)["__getattr__"] = _attribute_of_asyncio  # PEP 562


def _attribute_of_asyncio(name: str) -> object:
    if not name.startswith("_"):
        for part in _PARTS:
            module = sys.modules[f"asyncio.{part}"]
            if hasattr(module, name) and name in module.__all__:
                found: object = getattr(module, name)
                vars(sys.modules["asyncio"])[name] = found
                return found
    raise AttributeError(f"module 'asyncio' has no attribute {name!r}")
