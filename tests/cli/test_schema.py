# SPDX-License-Identifier: GPL-2.0-or-later
"""The JSON schema accepts and refuses what ``load`` does, as far as JSON schema can say it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from asyncemu.config.schema import vm_schema
from asyncemu.plugins import Plugin, load_all
from tests.cli.conftest import Result
from tests.config.test_load import FULL


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    load_all()
    return vm_schema()


@pytest.fixture(scope="module")
def validator(schema: dict[str, Any]) -> Draft202012Validator:
    return Draft202012Validator(schema)


def test_schema_is_valid_itself(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)


def test_schema_has_a_variant_per_builtin_driver(schema: dict[str, Any]) -> None:
    for kind in ("chardev", "netdev", "blockdev", "device"):
        mapping = schema["$defs"][kind]["discriminator"]["mapping"]
        assert set(mapping) == set(Plugin.registry[kind])
        assert all(reference.removeprefix("#/$defs/") in schema["$defs"] for reference in mapping.values())


def test_schema_every_option_is_described(schema: dict[str, Any]) -> None:
    variants = [schema["$defs"][name] for name in ("device.virtio-blk", "blockdev.file", "chardev.socket")]

    described = [
        key
        for variant in [*variants, schema["properties"]["machine"]]
        for key, option in variant["properties"].items()
        if "const" not in option and not option.get("description")
    ]

    assert described == []


def test_schema_full_example_is_valid(validator: Draft202012Validator) -> None:
    validator.validate(tomllib.loads(FULL))


@pytest.mark.parametrize(
    "text",
    [
        "[machine]\nmemroy = 1",
        '[machine]\nmemory = "256MB"',
        "[machine]\nmemory = -1",
        '[machine]\ntype = "vert"',
        "[machin]",
        "chardev = 1",
        '[[chardev]]\nbackend = "null"',
        '[[chardev]]\nid = "a b"\nbackend = "null"',
        '[[chardev]]\nid = "c"\nbackend = "nul"',
        '[[device]]\ndriver = "virtio-blk"',
        '[[device]]\ndriver = "virtio-rng"\nbus = 1',
        '[[device]]\ndriver = "virtio-blk"\ndrive = "d"\nnum-queues = 0',
        '[[device]]\nplugin = "mine"',
        '[[blockdev]]\ndriver = "raw"\nfile = { driver = "fil" }',
        '[[blockdev]]\ndriver = "file"\nfilename = "x"\ncache = { dirct = true }',
    ],
)
def test_schema_fault_is_invalid(text: str, validator: Draft202012Validator) -> None:
    assert not validator.is_valid(tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[machine]\nmemory = 4096",
        '[machine]\nmemory = "1.5G"',
        '[[device]]\nplugin = "mine.py:Mine"\nspeed = 3',
        '[[blockdev]]\nnode-name = "a"\ndriver = "raw"\nfile = { driver = "raw", file = "b" }',
    ],
)
def test_schema_variety_is_valid(text: str, validator: Draft202012Validator) -> None:
    validator.validate(tomllib.loads(text))


def test_schema_command_prints_it(schema: dict[str, Any], asyncemu: Callable[..., Result]) -> None:
    result = asyncemu("schema")

    assert (result.status, result.errors) == (0, "")
    assert json.loads(result.output) == json.loads(json.dumps(vm_schema()))
