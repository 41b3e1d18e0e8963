# SPDX-License-Identifier: GPL-2.0-or-later
"""From a table in vm.toml to a plug-in class and its checked options.

Pydantic finds all that is wrong at once; ``option_errors`` says it in the user's words. Plain options can do without
it, and tell what is wrong first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, cast

from asyncemu.errors import ConfigError, ConfigErrors
from asyncemu.option_values import OptionError
from asyncemu.plain_options import AnyOptions, PlainOptions
from asyncemu.plugins import Plugin, find, names

if TYPE_CHECKING:
    from pathlib import Path

OptionsT = TypeVar("OptionsT", bound=AnyOptions)

#: The key that names the object, per table; QEMU's names.
IDENTITY_KEY = {
    "iothread": "id",
    "throttle-group": "id",
    "blockdev": "node-name",
    "chardev": "id",
    "netdev": "id",
    "netfilter": "id",
    "device": "id",
    "monitor": "id",
}

#: The key that names the class, per table; QEMU's names.
DRIVER_KEY = {
    "blockdev": "driver",
    "chardev": "backend",
    "netdev": "type",
    "netfilter": "type",
    "device": "driver",
}


#: Names of objects, as QEMU has them: none looks like a number or like a name that the runtime made up ("#block001").
IDENTITY: Final = r"[A-Za-z][A-Za-z0-9._-]{0,62}"


class Configured(NamedTuple):
    """A plug-in that a table asked for: its class, its checked options and its own name (may be empty)."""

    plugin: type[Plugin[Any]]
    options: AnyOptions
    identity: str


def configure(
    kind: str, table: Mapping[str, Any], where: str, directory: Path | None = None, *, all_errors: bool = False
) -> Configured:
    """Find the class that ``table`` names and validate the rest of the table as its options.

    ``where`` is the table's TOML path, ``directory`` what relative paths are relative to. Raises ConfigError;
    ConfigErrors where the options are a pydantic model, and for ``all_errors``.
    """
    rest = dict(table)
    identity_key, driver_key = IDENTITY_KEY[kind], DRIVER_KEY[kind]
    identity = take_identity(kind, rest, where)
    path, driver = (_text(rest, key, where) for key in ("plugin", driver_key))
    if not driver and not path:
        raise ConfigError(f"{where}.{driver_key}", "is missing", "known: " + ", ".join(names(kind)))
    plugin = find(kind, driver, f"{where}.{'plugin' if path else driver_key}", path, directory)
    other_keys = (identity_key, driver_key)
    if issubclass(plugin.options_type, PlainOptions) and not all_errors:
        try:
            options: AnyOptions = plugin.options_type.parse(rest, where, directory, other_keys)
        except OptionError as error:
            error.plugin = plugin
            raise
    else:
        options = validate(plugin.options_type, rest, where, directory, other_keys)
    return Configured(plugin, options, identity)


def take_identity(kind: str, table: dict[str, Any], where: str) -> str:
    """Take the object's own name out of ``table``; empty when it has none. ConfigError when it is no name."""
    key = IDENTITY_KEY[kind]
    identity = _text(table, key, where)
    if identity and not re.fullmatch(IDENTITY, identity):
        problem = f"{identity[:60]!r} is not a name"
        raise ConfigError(f"{where}.{key}", problem, "begin with a letter; letters, digits, - . _ may follow")
    return identity


def _text(table: dict[str, Any], key: str, where: str) -> str:
    """Take ``key`` out of ``table``; empty when it is not there."""
    value = table.pop(key, "")
    if not isinstance(value, str):
        raise ConfigError(f"{where}.{key}", "must be text")
    return value


def validate(
    options_type: type[OptionsT],
    table: Mapping[str, Any],
    where: str,
    directory: Path | None = None,
    other_keys: Sequence[str] = (),
) -> OptionsT:
    """``table`` as an ``options_type``; raises ConfigErrors with all that is wrong.

    ``other_keys`` of the table in vm.toml were taken out of ``table``: they may be what an unknown key was meant to be.
    """
    from pydantic import ValidationError

    from asyncemu.plain_options_pydantic import model_of, plain_of

    model = model_of(options_type)
    try:
        options = model.model_validate(table, context={"directory": directory})
    except ValidationError as error:
        # Imported when it is needed: a configuration without mistakes does not wait for it.
        from asyncemu.option_errors import explain

        raise ConfigErrors(explain(error.errors(include_url=False), model, where, other_keys)) from None
    return cast(OptionsT, options if issubclass(options_type, model) else plain_of(options))
