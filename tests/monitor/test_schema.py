# SPDX-License-Identifier: GPL-2.0-or-later
"""query-qmp-schema: from our types, and beside QEMU's own."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

import asyncemu
from asyncemu.events import Event
from asyncemu.loop import AioContext
from asyncemu.machine import Machine, MachineOptions
from asyncemu.monitor.command import Call, Command
from asyncemu.monitor.control import Control
from asyncemu.monitor.schema import build
from asyncemu.wire_model import WireModel

QEMU = shutil.which("qemu-system-riscv64")

Entities = dict[str, dict[str, Any]]


class One(WireModel):
    type: Literal["one"]
    size: int


class Two(WireModel):
    type: Literal["two"]
    names: list[str] | None = None


class Many(WireModel):
    node_name: str
    fast: bool = False
    which: Annotated[One | Two, Field(discriminator="type")]
    mode: Literal["a", "b"] | None = None
    anything: Any = None
    inner: One | str | None = None


class Happened(Event):
    number: float


# By hand: those that are defined with a name are in the schema.
Happened.wire_name = "HAPPENED"


async def _many(call: Call, arguments: Many) -> list[Two]:
    return []


async def _none(call: Call) -> None: ...


def by_name(entities: list[dict[str, Any]]) -> Entities:
    return {entity["name"]: entity for entity in entities}


def members(entities: Entities, type_name: str) -> Entities:
    found: list[dict[str, Any]] = entities[type_name].get("members", [])
    return {member["name"]: member for member in found if "name" in member}


def own() -> Entities:
    return by_name(build([Command("many", _many, False), Command("none", _none, True)], [Happened]))


def test_build_command_without_arguments_takes_and_gives_the_empty_object() -> None:
    entities = own()

    assert entities["none"] == {
        "name": "none",
        "meta-type": "command",
        "arg-type": "0",
        "ret-type": "0",
        "allow-oob": True,
    }
    assert entities["0"] == {"name": "0", "meta-type": "object", "members": []}


def test_build_members_have_types_and_defaults() -> None:
    entities = own()
    found = members(entities, entities["many"]["arg-type"])

    assert {name: member.get("default", "needed") for name, member in found.items()} == {
        "node-name": "needed",
        "fast": None,
        "which": "needed",
        "mode": None,
        "anything": None,
        "inner": None,
    }
    assert [found[name]["type"] for name in ("node-name", "fast", "anything")] == ["str", "bool", "any"]
    assert entities[found["mode"]["type"]]["values"] == ["a", "b"]
    assert entities[found["inner"]["type"]]["meta-type"] == "alternate"
    assert entities[entities["many"]["ret-type"]]["meta-type"] == "array"


def test_build_union_has_a_tag_and_variants() -> None:
    entities = own()
    union = entities[members(entities, entities["many"]["arg-type"])["which"]["type"]]
    variants = {variant["case"]: entities[variant["type"]] for variant in union["variants"]}

    assert (union["tag"], entities[union["members"][0]["type"]]["values"]) == ("type", ["one", "two"])
    assert variants["one"]["members"] == [{"name": "size", "type": "int"}]
    assert variants["two"]["members"] == [{"name": "names", "type": "[str]", "default": None}]


def test_build_event_has_its_data() -> None:
    entities = own()

    assert members(entities, entities["HAPPENED"]["arg-type"]) == {"number": {"name": "number", "type": "number"}}


# ---- all that there is


@pytest.fixture
async def schema(context: AioContext) -> Entities:
    machine = Machine(context, MachineOptions.model_validate({"memory": 8 << 20}))
    return by_name(await Control(machine).execute("query-qmp-schema"))


async def test_schema_every_type_is_there(schema: Entities) -> None:
    named = re.findall(r'"(?:type|arg-type|ret-type|element-type)": "([^"]+)"', json.dumps(list(schema.values())))

    assert set(named) <= set(schema)


async def test_schema_has_all_commands(schema: Entities, context: AioContext) -> None:
    control = Control(Machine(context, MachineOptions.model_validate({"memory": 8 << 20})))

    commands = {each["name"] for each in await control.execute("query-commands")}

    assert commands == {name for name, entity in schema.items() if entity["meta-type"] == "command"}


async def test_query_events_names_those_of_the_schema(schema: Entities, context: AioContext) -> None:
    control = Control(Machine(context, MachineOptions.model_validate({"memory": 8 << 20})))

    events = {each["name"] for each in await control.execute("query-events")}

    assert events == {name for name, entity in schema.items() if entity["meta-type"] == "event"}


async def test_schema_has_all_events_that_are_defined_anywhere(schema: Entities) -> None:
    package = Path(asyncemu.__file__).parent
    defined = {
        name
        for path in package.rglob("*.py")
        if path.name != "events.py" or path.parent != package
        for name in re.findall(r'\(Event, name="([A-Z_]+)"', path.read_text())
    }

    assert defined
    assert defined <= {name for name, entity in schema.items() if entity["meta-type"] == "event"}


async def test_schema_node_inside_of_a_node_is_one(schema: Entities) -> None:
    union = schema[schema["blockdev-add"]["arg-type"]]
    qcow2 = next(schema[variant["type"]] for variant in union["variants"] if variant["case"] == "qcow2")
    file = next(member for member in qcow2["members"] if member["name"] == "file")

    assert {each["type"] for each in schema[file["type"]]["members"]} == {"str", union["name"]}


@pytest.fixture
async def qemus() -> Entities:
    """QEMU's schema."""
    if QEMU is None:
        pytest.skip("qemu-system-riscv64 is not installed")
    arguments = ["-M", "virt", "-display", "none", "-S", "-qmp", "stdio"]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(QEMU, *arguments, stdin=pipe, stdout=pipe)
    output, _ = await process.communicate(
        b'{"execute":"qmp_capabilities"}{"execute":"query-qmp-schema","id":"schema"}{"execute":"quit"}'
    )
    replies = [json.loads(line) for line in output.splitlines()]
    return by_name(next(reply["return"] for reply in replies if reply.get("id") == "schema"))


@pytest.fixture
def shared(schema: Entities) -> Entities:
    """Our schema, without what QEMU 7.2 has no more."""
    return {name: entity for name, entity in schema.items() if name != "query-events"}


async def test_every_name_is_qemus(shared: Entities, qemus: Entities) -> None:
    ours = {
        (entity["meta-type"], name) for name, entity in shared.items() if entity["meta-type"] in ("command", "event")
    }

    assert ours <= {(entity["meta-type"], name) for name, entity in qemus.items()}


async def test_every_command_needs_what_qemus_needs_and_tells_what_qemus_tells(
    schema: Entities, shared: Entities, qemus: Entities
) -> None:
    wrong: list[tuple[str, str]] = []
    for name, entity in shared.items():
        if entity["meta-type"] not in ("command", "event"):
            continue
        ours, theirs = members(schema, entity["arg-type"]), members(qemus, qemus[name]["arg-type"])
        needed = {key for key, member in ours.items() if "default" not in member}
        theirs_needed = {key for key, member in theirs.items() if "default" not in member}
        if entity["meta-type"] == "event":
            # An event may say always what QEMU says sometimes.
            needed &= theirs_needed | (needed - set(theirs))
            if not theirs_needed <= set(ours):
                wrong.append((name, f"does not tell {theirs_needed - set(ours)}"))
        elif needed != theirs_needed:
            wrong.append((name, f"needs {needed}, and in QEMU {theirs_needed}"))
        variants = {
            member["name"]
            for variant in qemus[qemus[name]["arg-type"]].get("variants", [])
            for member in qemus[variant["type"]].get("members", [])
        }
        if not set(ours) - set(theirs) <= variants:
            wrong.append((name, f"has {set(ours) - set(theirs)}, QEMU has not"))
        if entity.get("allow-oob", False) != qemus[name].get("allow-oob", False):
            wrong.append((name, "out of band"))

    assert wrong == []


async def test_every_result_has_what_qemus_always_has(schema: Entities, shared: Entities, qemus: Entities) -> None:
    wrong: list[tuple[str, set[str]]] = []
    for name, entity in shared.items():
        if entity["meta-type"] != "command":
            continue
        ours, theirs = entity["ret-type"], qemus[name]["ret-type"]
        while schema[ours]["meta-type"] == qemus[theirs]["meta-type"] == "array":
            ours, theirs = schema[ours]["element-type"], qemus[theirs]["element-type"]
        needed = {key for key, member in members(qemus, theirs).items() if "default" not in member}
        if ours != "any" and not needed <= set(members(schema, ours)):
            wrong.append((name, needed - set(members(schema, ours))))

    assert wrong == []
