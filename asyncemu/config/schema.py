# SPDX-License-Identifier: GPL-2.0-or-later
"""One JSON schema (draft 2020-12) for a whole vm.toml, from the options of all plug-ins that are known.

An entry of a list is one of its drivers' variants: ``oneOf`` tells them apart by the constant that each has for its
driver key, and ``discriminator`` (OpenAPI's keyword, as pydantic writes it) says so to tools that know it.
What JSON schema can't say (references, an option that goes with another one) is left to ``asyncemu check``.
"""

from __future__ import annotations

from typing import Any, Final

from asyncemu.config.describe import one_line
from asyncemu.machine import MachineOptions
from asyncemu.machine.iothreads import IOThreadOptions
from asyncemu.machine.throttle_groups import ThrottleGroupOptions
from asyncemu.monitor.options import MonitorOptions, QmpOptions
from asyncemu.plain_options import AnyOptions
from asyncemu.plain_options_pydantic import model_of
from asyncemu.plugin_options import DRIVER_KEY, IDENTITY_KEY
from asyncemu.plugins import Plugin

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

#: What an entry with ``plugin = "file.py:Class"`` may be: its options are known to that file only.
_BY_PATH: Final = "plugin"


def vm_schema(kinds: tuple[str, ...] = ("chardev", "netdev", "netfilter", "blockdev", "device")) -> dict[str, Any]:
    """The schema; knows the plug-ins that are imported (``plugins.load_all``)."""
    definitions: dict[str, Any] = {}
    properties = {"machine": _options_schema(MachineOptions, "machine", definitions)}
    for kind in kinds:
        plugins = sorted(Plugin.registry.get(kind, {}).items())
        variants = {name: _variant(kind, name, plugin, definitions) for name, plugin in plugins}
        for name, variant in variants.items():
            definitions[f"{kind}.{name}"] = variant
        definitions[f"{kind}.{_BY_PATH}"] = _variant_by_path(kind)
        definitions[kind] = {
            "oneOf": [{"$ref": f"#/$defs/{kind}.{name}"} for name in (*variants, _BY_PATH)],
            "discriminator": {
                "propertyName": DRIVER_KEY[kind],
                "mapping": {name: f"#/$defs/{kind}.{name}" for name in variants},
            },
        }
        properties[kind] = {"type": "array", "items": {"$ref": f"#/$defs/{kind}"}}
    for kind, options_type in (("iothread", IOThreadOptions), ("throttle-group", ThrottleGroupOptions)):
        entry = _options_schema(options_type, kind, definitions)
        entry["properties"] = {**_identity(kind), **entry["properties"]}
        entry["required"] = ["id"]
        properties[kind] = {"type": "array", "items": entry}
    monitor = _options_schema(MonitorOptions, "monitor", definitions)
    monitor["properties"] = {**_identity("monitor"), **monitor["properties"]}
    properties["monitor"] = {"type": "array", "items": monitor}
    properties["qmp"] = _options_schema(QmpOptions, "qmp", definitions)
    return {
        "$schema": DIALECT,
        "title": "asyncemu: vm.toml",
        "description": "A virtual machine for asyncemu.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _variant(kind: str, name: str, plugin: type[Plugin[Any]], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = _options_schema(plugin.options_type, f"{kind}.{name}", definitions)
    properties = schema.get("properties", {})
    for child in (slot.name for slot in getattr(plugin, "children", ())):
        # A nested table is a block node, too.
        key = model_of(plugin.options_type).model_fields[child].alias or child
        properties[key] = {
            "description": properties[key].get("description", ""),
            "anyOf": [{"type": "string"}, {"$ref": f"#/$defs/{kind}"}],
        }
    required = [DRIVER_KEY[kind], *_required_identity(kind), *schema.get("required", [])]
    return {
        "title": name,
        "description": one_line(plugin),
        "type": "object",
        "properties": {DRIVER_KEY[kind]: {"const": name}, **_identity(kind), **properties},
        "required": required,
        "additionalProperties": False,
    }


def _variant_by_path(kind: str) -> dict[str, Any]:
    return {
        "title": "plug-in by path",
        "description": "A class in a Python file of yours.",
        "type": "object",
        "properties": {
            _BY_PATH: {"type": "string", "pattern": r"^.+\.py:[^:]+$", "description": "file.py:ClassName"},
            **_identity(kind),
        },
        "required": [_BY_PATH, *_required_identity(kind)],
    }


def _identity(kind: str) -> dict[str, Any]:
    pattern = r"^[A-Za-z][A-Za-z0-9._-]{0,62}$"
    return {IDENTITY_KEY[kind]: {"type": "string", "pattern": pattern, "description": "The name of this object."}}


def _required_identity(kind: str) -> list[str]:
    """Nobody refers to a device; a block node inside of another needs no name either."""
    return [IDENTITY_KEY[kind]] if kind in ("chardev", "netdev", "netfilter") else []


def _options_schema(options_type: type[AnyOptions], prefix: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a class; what it refers to goes to ``definitions`` under names that begin with ``prefix``."""
    schema = model_of(options_type).model_json_schema(ref_template=f"#/$defs/{prefix}.{{model}}")
    for name, definition in schema.pop("$defs", {}).items():
        definitions[f"{prefix}.{name}"] = definition
    return schema
