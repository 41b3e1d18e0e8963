# SPDX-License-Identifier: GPL-2.0-or-later
"""How drivers, devices and back ends are named, configured and found.

A class says all that there is to know about itself in one line:

    class VirtioBlk(VirtioDevice[BlkOptions], name="virtio-blk", device_id=2): ...

``name`` is what vm.toml calls it, ``BlkOptions`` types its keys; help, validation and the JSON schema come from there.
What asyncemu ships is found in ``asyncemu/builtin.py``; what others ship, through the entry-point group
``asyncemu.plugins`` or by a path in vm.toml: ``plugin = "mydevice.py:Clock"``.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar, get_args, get_origin

from asyncemu.errors import ConfigError
from asyncemu.plain_options import AnyOptions, PlainOptions
from asyncemu.spelling import nearest

if TYPE_CHECKING:
    from pathlib import Path

ENTRY_POINT_GROUP = "asyncemu.plugins"


class Reference(NamedTuple):
    """Marks an option that names another object: ``drive: Annotated[str, Reference("blockdev")]``.

    The machine looks the name up and sets the object as the attribute of the same name on the plug-in.
    """

    kind: str


OptionsT = TypeVar("OptionsT", bound=AnyOptions, covariant=True)


class Plugin(Generic[OptionsT]):
    """Base of everything that vm.toml can name.

    ``kind`` is the table it appears in (``device``, ``blockdev``, ``chardev``, ``netdev``); subclasses of one kind
    share a registry. A subclass without ``name`` is abstract.
    """

    kind: ClassVar[str] = ""
    name: ClassVar[str] = ""
    #: One line for `asyncemu devices`; the first line of the class's docstring where empty.
    description: ClassVar[str] = ""
    options_type: ClassVar[type[AnyOptions]] = PlainOptions
    registry: ClassVar[dict[str, dict[str, type[Plugin[Any]]]]] = {}

    options: OptionsT

    def __init_subclass__(cls, *, name: str = "", **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        _refuse_hidden_parts(cls)
        options_type = _options_argument(cls)
        if options_type is not None:
            cls.options_type = options_type
        cls.name = name
        if name:
            cls.registry.setdefault(cls.kind, {})[name] = cls


def _refuse_hidden_parts(cls: type) -> None:
    """TypeError: an author's class calls a method as a part of ours is called, ``_read`` say, which would be lost."""
    if _is_ours(cls):
        return
    for base in cls.__mro__[1:]:
        if _is_ours(base):
            for name in sorted(vars(base).keys() & vars(cls).keys()):
                if name.startswith("_") and not name.endswith("__"):
                    raise TypeError(f"{cls.__name__}.{name} hides a part of {base.__name__}: choose another name")


def _is_ours(cls: type) -> bool:
    module = cls.__module__
    return module.startswith("asyncemu.") and not module.startswith("asyncemu.testing.")


def _options_argument(cls: type) -> type[AnyOptions] | None:
    """The ``BlkOptions`` in ``class VirtioBlk(VirtioDevice[BlkOptions])``, or None when it is inherited."""
    for base in cls.__dict__.get("__orig_bases__", ()):
        origin = get_origin(base)
        if isinstance(origin, type) and issubclass(origin, Plugin):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, AnyOptions):
                    return argument
    return None


class UnknownPlugin(ConfigError):
    """Nothing is called ``name`` in the table ``kind``."""

    def __init__(self, where: str, kind: str, name: str) -> None:
        super().__init__(where, f"{name[:60]!r} is unknown", nearest(name, names(kind)))
        self.kind = kind
        self.name = name


def find(kind: str, name: str, where: str, path: str = "", relative_to: Path | None = None) -> type[Plugin[Any]]:
    """The class that ``name`` means in the table ``kind``.

    ``path`` (``"file.py:Class"``) loads the class from a file instead. ``where`` is the TOML path for messages.
    Raises ConfigError with the nearest known name.
    """
    if path:
        return _load_from_path(kind, path, where, relative_to)
    from asyncemu.builtin import BUILTIN

    known = Plugin.registry.get(kind, {})
    if name in known:
        return known[name]
    module = BUILTIN.get(kind, {}).get(name)
    if module is not None:
        importlib.import_module(module)
        return Plugin.registry[kind][name]
    _load_entry_points()
    known = Plugin.registry.get(kind, {})
    if name in known:
        return known[name]
    raise UnknownPlugin(where, kind, name)


def names(kind: str) -> list[str]:
    """All names that ``find(kind, ...)`` would know, sorted; imports nothing."""
    from asyncemu.builtin import BUILTIN

    return sorted({*BUILTIN.get(kind, {}), *Plugin.registry.get(kind, {})})


def load_all() -> None:
    """Import everything that vm.toml can name: what asyncemu ships, and what other distributions offer."""
    from asyncemu.builtin import BUILTIN

    for modules in BUILTIN.values():
        for module in modules.values():
            importlib.import_module(module)
    _load_entry_points()


def _load_entry_points() -> None:
    import logging
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINT_GROUP):
        try:
            entry.load()
        except Exception as error:
            # Somebody else's distribution: it must not keep what it has nothing to do with from running.
            logging.getLogger("asyncemu.plugins").warning(
                "plug-in %s can't be loaded: %s: %s", entry.value, type(error).__name__, error
            )


def _load_from_path(kind: str, path: str, where: str, relative_to: Path | None) -> type[Plugin[Any]]:
    import importlib.util
    from pathlib import Path

    file_name, _, class_name = path.partition(":")
    if not class_name:
        raise ConfigError(where, f"{path!r} names no class", 'write "file.py:ClassName"')
    file = (relative_to or Path()) / file_name
    module_name = f"asyncemu_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ConfigError(where, f"{file}: no such Python file")
    module = sys.modules.get(module_name)
    if module is None or getattr(module, "__file__", None) != str(file):
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            from asyncemu import author_errors

            author_errors.raise_as_config_error(where, error)
            raise ConfigError(where, f"{file}: {type(error).__name__}: {error}".partition("\n")[0]) from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, Plugin)):
        raise ConfigError(where, f"{file} has no plug-in class {class_name!r}")
    if found.kind != kind:
        raise ConfigError(where, f"{class_name} is for [[{found.kind}]], not for [[{kind}]]", "move the table")
    return found
