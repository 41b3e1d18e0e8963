# SPDX-License-Identifier: GPL-2.0-or-later
"""From a table in vm.toml to a plug-in class and its checked options.

Pydantic finds all that is wrong at once; here its findings become ConfigErrors that name the TOML path, the problem in
the user's words and the nearest known key.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ValidationError, ValidationInfo

from asyncemu.errors import ConfigError, ConfigErrors
from asyncemu.plugins import Options, Plugin, find, names, nearest

ModelT = TypeVar("ModelT", bound=BaseModel)

#: The key that names the object, per table; QEMU's names.
IDENTITY_KEY = {"blockdev": "node-name", "chardev": "id", "netdev": "id", "device": "id"}

#: The key that names the class, per table; QEMU's names.
DRIVER_KEY = {"blockdev": "driver", "chardev": "backend", "netdev": "type", "device": "driver"}


def _relative_to_config(path: Path, info: ValidationInfo) -> Path:
    directory = (info.context or {}).get("directory")
    return directory / path.expanduser() if directory is not None else path.expanduser()


#: A file of the host: ``~`` is expanded, and a relative path is relative to the TOML file.
HostPath = Annotated[Path, AfterValidator(_relative_to_config)]


@dataclass(frozen=True, slots=True)
class Configured:
    """A plug-in that a table asked for: its class, its checked options and its own name (may be empty)."""

    plugin: type[Plugin[Any]]
    options: Options
    identity: str


def configure(kind: str, table: Mapping[str, Any], where: str, directory: Path | None = None) -> Configured:
    """Find the class that ``table`` names and validate the rest of the table as its options.

    ``where`` is the table's TOML path, ``directory`` what relative paths are relative to. Raises ConfigErrors.
    """
    rest = dict(table)
    identity_key, driver_key = IDENTITY_KEY[kind], DRIVER_KEY[kind]
    identity = rest.pop(identity_key, "")
    if not isinstance(identity, str):
        raise ConfigError(f"{where}.{identity_key}", "is not a string")
    path = rest.pop("plugin", "")
    driver = rest.pop(driver_key, "")
    if not isinstance(path, str) or not isinstance(driver, str):
        raise ConfigError(f"{where}.{driver_key}", "is not a string")
    if not driver and not path:
        raise ConfigError(f"{where}.{driver_key}", "is missing", "known: " + ", ".join(names(kind)))
    plugin = find(kind, driver, f"{where}.{driver_key}", path, directory)
    return Configured(plugin, validate(plugin.options_type, rest, where, directory), identity)


def validate(model: type[ModelT], table: Mapping[str, Any], where: str, directory: Path | None = None) -> ModelT:
    """``table`` as a ``model``; raises ConfigErrors with all that is wrong."""
    try:
        return model.model_validate(table, context={"directory": directory})
    except ValidationError as error:
        raise ConfigErrors(_explain(finding, model, where) for finding in error.errors()) from None


def _explain(finding: Mapping[str, Any], model: type[BaseModel], where: str) -> ConfigError:
    path = where
    for part in finding["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    match finding["type"]:
        case "extra_forbidden":
            known = _keys_at(model, finding["loc"][:-1])
            return ConfigError(path, "unknown key", nearest(str(finding["loc"][-1]), known))
        case "missing":
            return ConfigError(path, "is missing")
        case "value_error":
            return ConfigError(path, str(finding["ctx"]["error"]))
        case _:
            message = finding["msg"]
            return ConfigError(path, f"{message[0].lower()}{message[1:]}, not {finding['input']!r}")


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that the table at ``loc`` below ``model`` may have."""
    for part in loc:
        if isinstance(part, int):
            continue
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                inner = _model_in(field.annotation)
                if inner is not None:
                    model = inner
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        if (found := _model_in(argument)) is not None:
            return found
    return None
