# SPDX-License-Identifier: GPL-2.0-or-later
"""What Tab offers on a machine with one of each."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncemu.monitor.control import Control
from asyncemu.monitor.hmp.completion import complete
from asyncemu.monitor.hmp.session import Session
from tests.monitor.hmp.conftest import Build


@pytest.fixture
async def rich(build: Build) -> Session:
    """A user of a machine with a disk, a network, chardevs and an iothread."""
    machine = await build(
        chardev=[{"id": "plain", "backend": "null"}, {"id": "ring", "backend": "ringbuf"}],
        blockdev=[{"node-name": "zero", "driver": "null-co", "size": 1 << 20}],
        netdev=[{"id": "net0", "type": "user"}],
        device=[
            {"driver": "virtio-blk", "drive": "zero", "id": "disk"},
            {"driver": "virtio-net", "netdev": "net0", "id": "nic"},
        ],
        iothread=[{"id": "io0"}],
    )
    return Session(Control(machine))


@pytest.mark.parametrize(
    ("text", "word", "choices"),
    [
        ("system_r", "system_r", ["system_reset"]),
        ("  system_r", "system_r", ["system_reset"]),
        ("help system_r", "system_r", ["system_reset"]),
        ("? info blocks", "blocks", ["blockstats"]),
        ("info sta", "sta", ["status"]),
        ("block_resize ", "", ["disk", "nic", "zero"]),
        ("block_resize z", "z", ["zero"]),
        ("block_resize zero ", "", []),
        ("info block -v z", "z", ["zero"]),
        ("set_link n", "n", ["net0", "nic"]),
        ("set_link nic o", "o", ["off", "on"]),
        ("netdev_del ", "", ["net0"]),
        ("netdev_add us", "us", ["user"]),
        ("device_del d", "d", ["disk"]),
        ("device_add virtio-b", "virtio-b", ["virtio-blk"]),
        ("chardev-remove ", "", ["plain", "ring"]),
        ("chardev-add ringb", "ringb", ["ringbuf"]),
        ("ringbuf_read ", "", ["ring"]),
        ("object_del ", "", ["io0"]),
        ("object_add iot", "iot", ["iothread"]),
        ("nosuch ", "", []),
        ("info nosuch ", "", []),
        ("stop ", "", []),
    ],
)
async def test_complete_offers_what_there_is(rich: Session, text: str, word: str, choices: list[str]) -> None:
    found_word, found = await complete(rich, text)

    assert (found_word, sorted(found)) == (word, choices)


async def test_complete_nothing_typed_offers_all_commands(session: Session) -> None:
    _, found = await complete(session, "")

    assert {"help", "?", "info", "cont", "c"} <= set(found)


async def test_complete_trace_events_offers_them(session: Session) -> None:
    _, found = await complete(session, "trace-event ")

    assert found


async def test_complete_files_offers_names_and_directories(session: Session, tmp_path: Path) -> None:
    (tmp_path / "core1").touch()
    (tmp_path / "cores").mkdir()
    (tmp_path / "other").touch()

    _, found = await complete(session, f"dump-guest-memory -p {tmp_path}/c")

    assert found == [f"{tmp_path}/core1", f"{tmp_path}/cores/"]


async def test_complete_files_of_no_directory_offers_none(session: Session, tmp_path: Path) -> None:
    _, found = await complete(session, f"dump-guest-memory {tmp_path}/nosuch/")

    assert found == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.text(alphabet="infohelpx?/ -\t\x00.'\"", max_size=30))
async def test_complete_any_text_offers_what_begins_with_the_word(session: Session, text: str) -> None:
    word, found = await complete(session, text)

    assert all(each.startswith(word) for each in found)
