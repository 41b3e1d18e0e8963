# SPDX-License-Identifier: GPL-2.0-or-later
"""``devices``: the list, and the options of one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from asyncemu.options import Options
from asyncemu.plugins import Plugin
from tests.cli.conftest import Result

BUILTIN = (
    *("virtio-blk", "virtio-console", "virtio-rng", "file", "raw", "null-co", "null", "pty", "socket", "stdio"),
    *("dgram", "hubport", "stream", "tap", "bridge", "filter-buffer", "filter-dump", "filter-mirror", "filter-netem"),
    *("filter-redirector", "filter-rewriter"),
)


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_devices_list_has_every_builtin_with_a_line_of_help(asyncemu: Callable[..., Result]) -> None:
    result = asyncemu("devices")

    assert (result.status, result.errors) == (0, "")
    rows = [line.split(maxsplit=1) for line in result.output.splitlines() if line.startswith("  ")]
    helps = {row[0]: row[1] for row in rows if len(row) == 2}
    assert set(BUILTIN) <= set(helps)


def test_devices_list_is_grouped_by_table(asyncemu: Callable[..., Result]) -> None:
    output = asyncemu("devices").output

    titles = [line for line in output.splitlines() if line.startswith("[")]
    assert titles == [
        "[[device]]: device models",
        "[[blockdev]]: block drivers",
        "[[chardev]]: character back ends",
        "[[netdev]]: network back ends",
        "[[netfilter]]: filters on the links of netdevs",
        "[machine]: the board; its options: asyncemu devices machine",
    ]


def test_devices_one_shows_type_default_and_help(asyncemu: Callable[..., Result]) -> None:
    output = asyncemu("devices", "virtio-blk").output
    # Long texts are wrapped.
    text = " ".join(output.split())

    assert output.startswith('[[device]] driver = "virtio-blk": ')
    assert " drive node-name of the disk's contents. (node-name of a blockdev; required) " in text
    assert " queue-size Entries of each queue: a power of two. (number, 2 to 1024; default 256) " in text
    assert " discard Offer discard to the guest. (true or false; default true) " in text
    assert " iothread The iothread that the device lives in; default: the main loop. (id of an iothread) " in text


def test_devices_one_shows_keys_of_inner_tables(asyncemu: Callable[..., Result]) -> None:
    output = asyncemu("devices", "virtio-console").output

    assert "  ports[].name     " in output


def test_devices_name_of_two_shows_both(asyncemu: Callable[..., Result]) -> None:
    output = asyncemu("devices", "file").output

    assert '[[blockdev]] driver = "file"' in output
    assert '[[chardev]] backend = "file"' in output


def test_devices_machine_shows_sizes_as_written(asyncemu: Callable[..., Result]) -> None:
    output = asyncemu("devices", "machine").output

    assert "(size; default 128MiB)" in output


def test_devices_plugin_of_another_distribution_is_listed(
    asyncemu: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    class BeepOptions(Options):
        tone: float = 440.0

    class Beep(Plugin[BeepOptions]):
        """Beeps."""

    monkeypatch.setitem(Plugin.registry["device"], "beep", Beep)

    assert "  beep            Beeps." in asyncemu("devices").output.splitlines()
    assert "  tone  (number; default 440.0)" in asyncemu("devices", "beep").output.splitlines()
    assert f"From {__name__}." in asyncemu("devices", "beep").output


def test_devices_plugin_that_fails_to_load_is_a_warning(
    asyncemu: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(**_: Any) -> list[EntryPoint]:
        return [EntryPoint("broken", "no_such_module_of_that_name:X", "asyncemu.plugins")]

    monkeypatch.setattr("importlib.metadata.entry_points", broken)

    with caplog.at_level(logging.WARNING):
        result = asyncemu("devices")

    assert result.status == 0
    assert caplog.messages == [
        "plug-in no_such_module_of_that_name:X can't be loaded: "
        "ModuleNotFoundError: No module named 'no_such_module_of_that_name'"
    ]
