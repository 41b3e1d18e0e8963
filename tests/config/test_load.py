# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading vm.toml (what is wrong with one is in tests/cli/test_config_messages.py)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.config import load
from asyncemu.config.load import check
from asyncemu.errors import ConfigError
from asyncemu.plain_options_pydantic import given_options

FULL = """
[machine]
type = "virt"
accel = ["tcg"]
memory = "1G"
smp = 1
kernel = "Image"
initrd = "/boot/initrd"
append = "console=hvc0"
serial = "con"
paused = true

[[chardev]]
id = "con"
backend = "stdio"
mux = true

[[blockdev]]
node-name = "disk0"
driver = "raw"
file = { driver = "file", filename = "disk.img", read-only = true, cache = { direct = true } }

[[blockdev]]
node-name = "half"
driver = "raw"
file = "disk0"

[[device]]
driver = "virtio-blk"
id = "vda"
drive = "half"

[[device]]
driver = "virtio-console"
chardev = "con"

[[device]]
driver = "virtio-rng"
"""


@pytest.fixture
def vm(tmp_path: Path) -> Path:
    path = tmp_path / "vm.toml"
    path.write_text(FULL)
    return path


def test_load_machine_options(vm: Path) -> None:
    machine = load(vm).machine

    assert (machine.memory, machine.append, machine.paused) == (1 << 30, "console=hvc0", True)


def test_load_relative_path_is_relative_to_the_file(vm: Path) -> None:
    machine = load(vm).machine

    assert (machine.kernel, machine.initrd) == (vm.parent / "Image", Path("/boot/initrd"))


def test_load_parts_in_their_order(vm: Path) -> None:
    config = load(vm)

    assert [each.plugin.name for each in config.devices] == ["virtio-blk", "virtio-console", "virtio-rng"]
    assert [each.identity for each in config.devices] == ["vda", "", ""]
    assert [each.identity for each in config.blockdevs] == ["disk0", "half"]
    assert [each.identity for each in config.chardevs] == ["con"]


def test_load_overrides_are_applied_in_order(vm: Path) -> None:
    config = load(vm, ["machine.memory=1M", "machine.memory=2M", "device.vda.serial=xyz"])

    assert config.machine.memory == 2 << 20
    assert given_options(config.devices[0].options)["serial"] == "xyz"


def test_load_empty_file_is_a_machine_without_parts(tmp_path: Path) -> None:
    (tmp_path / "vm.toml").touch()

    config = load(tmp_path / "vm.toml")

    assert (config.machine.memory, config.machine.kernel, list(config.devices)) == (128 << 20, None, [])


def test_load_plugin_by_path(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from asyncemu.options import Options\n"
        "from asyncemu.virtio import VirtioDevice\n"
        "class MineOptions(Options):\n    speed: int = 1\n"
        "class Mine(VirtioDevice[MineOptions], device_id=42): ...\n"
    )
    (tmp_path / "vm.toml").write_text('[[device]]\nplugin = "mine.py:Mine"\nspeed = 3\n')

    (device,) = load(tmp_path / "vm.toml").devices

    assert device.plugin.__name__ == "Mine"
    assert given_options(device.options) == {"speed": 3}


PLUGIN_FAULTS = {
    "class of another kind": (
        "from asyncemu.chardev.null import Null",
        "device[0].plugin: Null is for [[chardev]], not for [[device]]; move the table",
    ),
    "no plug-in": ("class Null: ...", "device[0].plugin: {file} has no plug-in class 'Null'"),
    "no such class": ("", "device[0].plugin: {file} has no plug-in class 'Null'"),
    "syntax": ("class", "device[0].plugin: SyntaxError: invalid syntax, at {file}:1"),
    "exception": ("1/0", "device[0].plugin: ZeroDivisionError: division by zero, at {file}:1"),
}


@pytest.mark.parametrize("case", PLUGIN_FAULTS)
def test_load_bad_plugin_by_path_is_a_config_error(case: str, tmp_path: Path) -> None:
    source, message = PLUGIN_FAULTS[case]
    file = tmp_path / f"{case.replace(' ', '_')}.py"
    file.write_text(source)

    with pytest.raises(ConfigError) as caught:
        check({"device": [{"plugin": f"{file}:Null"}]}, tmp_path)

    assert str(caught.value) == message.format(file=file, name=file.name)


# The first table that names a driver imports it, which takes as long as it takes.
unhurried = settings(deadline=None)

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
keys = st.sampled_from(
    ["machine", "chardev", "blockdev", "device", "id", "node-name", "driver", "backend", "file", "ports", "cache",
     "drive", "chardev", "size", "memory", "kernel", "filename", "host", "port", "mux", "x"]
)  # fmt: skip
words = st.sampled_from(
    ["file", "raw", "null-co", "stdio", "null", "virtio-blk", "virtio-console", "virtio-rng", "socket"]
)
values = st.recursive(
    scalars | words, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=5), max_leaves=20
)
entries = {
    "chardev": st.fixed_dictionaries({"id": st.just("c0"), "backend": words}, optional={"mux": values, "path": values}),
    "blockdev": st.fixed_dictionaries({"node-name": st.just("d0"), "driver": words}, optional={"file": values}),
    "device": st.fixed_dictionaries({"driver": words}, optional={"drive": values, "chardev": values, "ports": values}),
}


@unhurried
@given(st.dictionaries(keys, values, max_size=5))
def test_check_any_tables_is_a_config_or_config_errors(tables: dict[str, Any]) -> None:
    try:
        assert check(tables, Path())
    except ConfigError as error:
        assert str(error)


@unhurried
@given(st.fixed_dictionaries({}, optional={kind: st.lists(entry, max_size=3) for kind, entry in entries.items()}))
def test_check_nearly_right_tables_is_a_config_or_config_errors(tables: dict[str, Any]) -> None:
    try:
        assert check(tables, Path())
    except ConfigError as error:
        assert str(error)


@unhurried
@given(st.dictionaries(keys, values, max_size=8))
def test_check_any_machine_is_a_config_or_config_errors(machine: dict[str, Any]) -> None:
    try:
        assert check({"machine": machine}, Path()).machine.memory >= 0
    except ConfigError as error:
        assert str(error).startswith("machine.")
