# SPDX-License-Identifier: GPL-2.0-or-later
"""Arguments that carry a plug-in's own options beside a command's: of blockdev-add, netdev_add, object-add.

QEMU has unions for them, told apart by one member (``driver``, ``type``, ``qom-type``). Here the plug-in's class of
options is the variant: the one that vm.toml is checked by, too. What is wrong is said in QEMU's words.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast

from pydantic import ConfigDict, ValidationError

from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.validation import arguments_error
from asyncemu.plain_options import AnyOptions
from asyncemu.plain_options_pydantic import model_of, plain_of
from asyncemu.plugin_options import DRIVER_KEY, Configured
from asyncemu.plugins import UnknownPlugin, find, names
from asyncemu.wire_model import WireModel

if TYPE_CHECKING:
    from pathlib import Path

OptionsT = TypeVar("OptionsT", bound=AnyOptions)


class PluginArguments(WireModel):
    """Base: the members that are fields, and any others, which ``variants`` tells."""

    model_config = ConfigDict(extra="allow")

    #: The member that says which variant it is.
    tag: ClassVar[str]

    @classmethod
    def variants(cls) -> Mapping[str, type[AnyOptions]]:
        """Per value of ``tag``: the options that may follow."""
        raise AssertionError(f"{cls.__name__} has no variants")

    def own(self) -> dict[str, Any]:
        """The members that are no fields, as they came."""
        return dict(self.model_extra or {})

    def table(self) -> dict[str, Any]:
        """All members, as they came."""
        return {**self.to_wire(), **self.own()}


def plugin_variants(kind: str) -> dict[str, type[AnyOptions]]:
    """The options of all plug-ins of a table of vm.toml."""
    return {name: find(kind, name, kind).options_type for name in names(kind)}


def configured(kind: str, name: str, identity: str, options: Mapping[str, Any], directory: Path | None) -> Configured:
    """The plug-in ``name`` of the table ``kind`` with these ``options``; relative paths are relative to ``directory``.

    Raises QmpError.
    """
    try:
        plugin = find(kind, name, kind)
    except UnknownPlugin:
        raise QmpError(f"Parameter '{DRIVER_KEY[kind]}' does not accept value '{name}'") from None
    return Configured(plugin, checked(plugin.options_type, options, directory), identity)


def checked(options_type: type[OptionsT], options: Mapping[str, Any], directory: Path | None = None) -> OptionsT:
    """``options`` as an ``options_type``. Raises QmpError for the first that is wrong."""
    check_plain_types(options_type, options)
    model = model_of(options_type)
    try:
        found = model.model_validate(dict(options), context={"directory": directory})
    except ValidationError as error:
        raise arguments_error(error, options) from None
    return cast(OptionsT, found if issubclass(options_type, model) else plain_of(found))


def check_plain_types(options_type: type[AnyOptions], options: Mapping[str, Any], prefix: str = "") -> None:
    """Numbers and truth values may be text in a file ("on"); in QMP they may not: QmpError."""
    for field_name, field in model_of(options_type).model_fields.items():
        key, plain_type = field.alias or field_name, _plain_type(field.annotation)
        expected = _QAPI_NAMES.get(plain_type)
        if expected is not None and key in options and type(options[key]) is not plain_type:
            raise QmpError(f"Invalid parameter type for '{prefix}{key}', expected: {expected}")


#: Of types that are taken as they are.
_QAPI_NAMES: Final[Mapping[Any, str]] = {bool: "boolean", int: "integer"}


def _plain_type(annotation: Any) -> Any:
    """``annotation`` without ``| None``."""
    rest = [each for each in typing.get_args(annotation) if each is not type(None)]
    return rest[0] if len(rest) == 1 and type(None) in typing.get_args(annotation) else annotation
