# SPDX-License-Identifier: GPL-2.0-or-later
"""``user,id=n0,restrict=on`` as what QMP takes: every option of the type that its plug-in declares.

Keys may repeat: a list gets all of their values, anything else the last one. ``tls-creds.dir=x`` is ``dir`` in a table
``tls-creds``.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.naming.qemu_opts import opts_of
from asyncemu.monitor.errors import QmpError
from asyncemu.monitor.identifiers import check_identifier
from asyncemu.monitor.plugin_arguments import configured, plugin_variants
from asyncemu.plain_options import AnyOptions
from asyncemu.plain_options_pydantic import model_of
from asyncemu.plugin_options import Configured
from asyncemu.size import SizeInBytes

if TYPE_CHECKING:
    from pathlib import Path

_INTEGER: Final = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20})")
_NOTHING: Final[Mapping[str, Any]] = {}
_TRUTH: Final = {"on": True, "yes": True, "true": True, "off": False, "no": False, "false": False}


def split(text: str, implied_key: str) -> dict[str, list[str]]:
    """The values of each key, in order."""
    options: dict[str, list[str]] = {}
    for opt in opts_of(text, implied_key):
        options.setdefault(opt.key, []).append(opt.value)
    return options


def typed(
    variant: type[AnyOptions] | None, options: Mapping[str, list[str]], own: Mapping[str, Any] = _NOTHING
) -> dict[str, Any]:
    """``options`` as QMP's members: of the types that the ``variant`` declares, and the command its ``own`` ones.

    Without a variant nothing but these is known. Raises QmpError for a value that is none of its type.
    """
    types = {**(_types(variant) if variant is not None else {}), **own}
    members: dict[str, Any] = {}
    for key, values in options.items():
        # QEMU's names of devices' options have underscores.
        annotation = types.get(key, types.get(key.replace("_", "-"), str))
        _put(members, key, _value(key, values, annotation))
    return members


def configured_by_text(kind: str, tag: str, options: Mapping[str, list[str]], directory: Path | None) -> Configured:
    """The plug-in that ``options`` name by ``tag``, with an ``id``. Raises QmpError."""
    name, id = options.get(tag, [""])[-1], options["id"][-1]
    members = typed(plugin_variants(kind).get(name), options)
    for key in (tag, "id"):
        members.pop(key, None)
    return configured(kind, name, check_identifier(id), members, directory)


def _types(variant: type[AnyOptions]) -> dict[str, Any]:
    return {
        field.alias or name: SizeInBytes
        if any(isinstance(each, SizeInBytes) for each in field.metadata)
        else field.annotation
        for name, field in model_of(variant).model_fields.items()
    }


def _value(key: str, values: list[str], annotation: Any) -> Any:
    if typing.get_origin(annotation) in (list, tuple):
        return values
    kinds = set(typing.get_args(annotation)) or {annotation}
    value = values[-1]
    if annotation is SizeInBytes:
        try:
            return SizeInBytes().convert(value, None)
        except ValueError as error:
            raise QmpError(f"Parameter '{key}' expects a non-negative number below 2^64") from error
    if bool in kinds and not kinds & {str, int}:
        if value not in _TRUTH:
            raise QmpError(f"Parameter '{key}' expects 'on' or 'off'")
        return _TRUTH[value]
    if int in kinds and str not in kinds:
        if not _INTEGER.fullmatch(value):
            raise QmpError(f"Parameter '{key}' expects integer")
        return int(value, 16 if "x" in value.lower() else 10)
    return value


def _put(members: dict[str, Any], key: str, value: Any) -> None:
    *outer, last = key.split(".")
    for name in outer:
        inner = members.setdefault(name, {})
        if not isinstance(inner, dict):
            raise QmpError(f"Parameters '{name}.*' used inconsistently")
        members = inner
    members[last] = value
