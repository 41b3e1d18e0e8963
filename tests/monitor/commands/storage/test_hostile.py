# SPDX-License-Identifier: GPL-2.0-or-later
"""Any JSON as arguments of any of these commands: a reply or an error of one line, and the machine is there still."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncemu.monitor.command import find
from asyncemu.monitor.plugin_arguments import PluginArguments
from asyncemu.plain_options_pydantic import model_of
from tests.monitor.commands.storage.conftest import Command

#: Those whose arguments can't make them reach for other machines, or for devices of this one.
COMMANDS = (
    "block-export-add",
    "block-export-del",
    "block-latency-histogram-set",
    "block-set-write-threshold",
    "block_resize",
    "block_set_io_throttle",
    "blockdev-add",
    "blockdev-del",
    "blockdev-reopen",
    "blockdev-snapshot",
    "blockdev-snapshot-delete-internal-sync",
    "blockdev-snapshot-internal-sync",
    "change-backing-file",
    "nbd-server-remove",
    "netdev_add",
    "netdev_del",
    "object-add",
    "object-del",
    "query-blockstats",
    "query-named-block-nodes",
    "query-rx-filter",
    "set_link",
    "transaction",
    "x-debug-query-block-graph",
)
VARIANTS = {
    "blockdev-add": ("null-co", "raw", "qcow2", "file", "throttle", "blkdebug", "copy-on-read"),
    "netdev_add": ("user", "hubport", "null"),
    "object-add": ("iothread", "secret", "throttle-group", "filter-buffer", "tls-creds-x509"),
}

texts = st.sampled_from(
    ["zz", "n", "disk0", "blk0", "", "a b", "\udc80", "\ud800", "\n", "/nonexistent", "x" * 300, "%s", "null"]
)
integers = st.sampled_from([0, 1, -1, 512, 1 << 31, 1 << 63, -(1 << 63), 1 << 70])
leaves = st.one_of(texts, integers, st.booleans(), st.none(), st.floats(allow_nan=True))
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(COMMANDS))
    command = find(name)
    assert command is not None
    model = command.arguments
    members = [field.alias or key for key, field in model.model_fields.items()] if model is not None else []
    arguments: dict[str, Any] = {}
    if model is not None and issubclass(model, PluginArguments):
        variant = draw(st.sampled_from(VARIANTS[name]))
        arguments[model.tag] = variant
        options = model_of(model.variants()[variant])
        members += [field.alias or key for key, field in options.model_fields.items()]
    chosen = draw(st.lists(st.sampled_from([*members, "bogus"]), max_size=4))
    return name, {**{member: draw(values) for member in chosen}, **arguments}


@pytest.mark.slow
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(calls(), min_size=1, max_size=8))
async def test_any_arguments_give_a_reply_or_one_line(
    command: Command, asked: list[tuple[str, dict[str, Any]]]
) -> None:
    vm = await command(
        blockdev=[{"node-name": "disk0", "driver": "null-co", "size": 1 << 20}],
        device=[{"driver": "virtio-blk", "id": "blk0", "drive": "disk0"}],
    )

    for name, arguments in asked:
        reply = await vm.reply(name, arguments)
        problem = reply.get("error", {}).get("desc", "-")
        assert problem
        assert "\n" not in problem

    assert "blk0" in [each["qdev"] for each in await vm.ask("query-block")]
    await vm.machine.close()


NUL, HALF = "a\0b", "\ud800"
STREAM = {"type": "stream", "id": "a", "server": True}


def listen_at(kind: str, **data: str) -> tuple[str, dict[str, Any]]:
    return "nbd-server-start", {"addr": {"type": kind, "data": data}}


def overlay(file: str, name: str = "x") -> tuple[str, dict[str, Any]]:
    return "blockdev-snapshot-sync", {"device": "blk0", "snapshot-file": file, "snapshot-node-name": name}


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (("blockdev-add", {"driver": "file", "node-name": "a", "filename": HALF}), "has a character that no file's"),
        (overlay(HALF), "has a character that no file's name has"),
        (overlay(NUL), "has a NUL character, which no file's name has"),
        (overlay(""), "is empty; give the path of a file"),
        (overlay("ok", "0x"), "Invalid node-name: '0x'"),
        (overlay("json:{"), "Protocol of 'json:{' does not support image creation"),
        (listen_at("unix", path=HALF), "has a character that no file's name has"),
        (listen_at("unix", path=NUL), "has a NUL character, which no file's name has"),
        (listen_at("unix", path="x" * 300), "File name too long"),
        (listen_at("inet", host=HALF, port="0"), "Name or service not known"),
        (listen_at("inet", host="127.0.0.1", port="65536"), "there is no such port"),
        (listen_at("inet", host="127.0.0.1", port="9" * 5000), "there is no such port"),
        (("netdev_add", {**STREAM, "addr": {"type": "unix", "path": NUL}}), "has a NUL character"),
        (("netdev_add", {**STREAM, "addr": {"type": "fd", "str": "9" * 5000}}), "has not been found"),
        (("netdev_add", {"type": "socket", "id": "a", "fd": 1 << 40}), "Parameter 'fd': "),
        (("netdev_add", {"type": "socket", "id": "a", "fd": "999"}), "fd 999 is not a socket"),
        (("block-set-write-threshold", {"node-name": "disk0", "write-threshold": 1 << 70}), "'write-threshold'"),
        (("block-latency-histogram-set", {"id": "blk0", "boundaries": [*range(1, 5000)]}), "'boundaries'"),
        (("transaction", {"actions": [{"type": "abort", "data": {}}] * 1000}), "'actions'"),
    ],
)
async def test_what_can_not_be_is_one_line(command: Command, asked: tuple[str, dict[str, Any]], problem: str) -> None:
    vm = await command(
        blockdev=[{"node-name": "disk0", "driver": "null-co", "size": 1 << 20}],
        device=[{"driver": "virtio-blk", "id": "blk0", "drive": "disk0"}],
    )

    reply = await vm.reply(*asked)

    assert problem in reply["error"]["desc"]
    assert "\n" not in reply["error"]["desc"]
