# SPDX-License-Identifier: GPL-2.0-or-later
"""Objects that users create while a machine is there, and those like them that vm.toml has. QEMU: object-add.

iothreads, throttle groups, secrets, TLS credentials and filters of netdevs share one set of names. Each type keeps its
objects where they are used; here is what is common: names, creation, deletion.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.loop import home
from asyncemu.plain_options import AnyOptions

if TYPE_CHECKING:
    from asyncemu.machine.machine import Machine

OptionsT = TypeVar("OptionsT", bound=AnyOptions)


class ObjectError(AsyncemuError):
    """An object can't be created or deleted; ``str`` is QEMU's description, one line."""


class ObjectInUse(ObjectError):
    """Somebody needs it."""

    def __init__(self, id: str) -> None:
        super().__init__(f"object '{id}' is in use, can not be deleted")


class ObjectType(ABC, Generic[OptionsT]):
    """One type of objects in one machine. All methods run at the machine's home."""

    #: QEMU: qom-type.
    name: str

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @property
    @abstractmethod
    def options_type(self) -> type[OptionsT]:
        """What it is created with."""

    @abstractmethod
    def ids(self) -> Iterable[str]:
        """Those that are there, whoever made them."""

    @abstractmethod
    async def create(self, id: str, options: OptionsT) -> None:
        """One more. Raises AsyncemuError, and then has left nothing."""

    @abstractmethod
    async def delete(self, id: str) -> None:
        """One less, which is there. ObjectInUse: it stays."""

    def prepared(self, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """A table of options as ``options_type`` has them, where there are older spellings. ObjectError."""
        return table

    def properties(self, id: str) -> Mapping[str, Any]:
        """What may be asked about it; JSON values."""
        return {}


class UserObjects:
    """All of them, by id. Home: the machine's."""

    def __init__(self, machine: Machine) -> None:
        self.context = machine.context
        self._machine = machine
        self._types: dict[str, ObjectType[Any]] | None = None
        #: Ids of objects that are being created or deleted.
        self._busy: set[str] = set()

    @home
    def types(self) -> Mapping[str, ObjectType[Any]]:
        """What can be created, by the names of the types."""
        if self._types is None:
            # Imported when it is needed: most machines are what vm.toml says, and nothing more.
            from asyncemu.machine.object_types import object_types

            self._types = {each.name: each for each in object_types(self._machine)}
        return self._types

    @home
    def all(self) -> list[tuple[str, str]]:
        """(id, type) of all that are there."""
        return [(id, each.name) for each in self.types().values() for id in each.ids()]

    @home
    def find(self, id: str) -> ObjectType[Any] | None:
        """The type of the object ``id``; None: there is none."""
        return next((each for each in self.types().values() if id in each.ids()), None)

    @home
    async def add(self, type_name: str, id: str, options: AnyOptions) -> None:
        """Create an object. ``options`` are of the type's class and have been checked, ``id`` is an identifier.

        Raises ObjectError.
        """
        if self.find(id) is not None or id in self._busy:
            raise ObjectError(f"attempt to add duplicate property '{id}' to object (type 'container')")
        object_type = self.types()[type_name]
        self._busy.add(id)
        try:
            await object_type.create(id, cast(Any, options))
        except ConfigError as error:
            raise ObjectError(f"{error.problem}; {error.remedy}" if error.remedy else error.problem) from error
        finally:
            self._busy.remove(id)

    @home
    async def remove(self, id: str) -> None:
        """Delete an object. Raises ObjectError."""
        found = self.find(id)
        if found is None:
            raise ObjectError(f"object '{id}' not found")
        if id in self._busy:
            raise ObjectInUse(id)
        self._busy.add(id)
        try:
            await found.delete(id)
        finally:
            self._busy.remove(id)
