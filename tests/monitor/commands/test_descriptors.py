# SPDX-License-Identifier: GPL-2.0-or-later
"""Descriptors that clients hand over. The words are compared with QEMU's in qmp/test_against_qemu.py."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu.monitor.descriptors import MAX_DESCRIPTORS, NamedDescriptors
from asyncemu.monitor.errors import QmpError
from tests.monitor.conftest import Serve
from tests.monitor.qmp.client import RawClient


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


async def hand_over(path: Path, fd: int, command: bytes) -> tuple[RawClient, dict[str, Any]]:
    """Send a command with a descriptor."""
    client = await RawClient.connect(path)
    raw = client.writer.get_extra_info("socket")
    with socket.socket(fileno=os.dup(raw.fileno())) as duplicate:
        socket.send_fds(duplicate, [command], [fd])
    return client, await client.reply()


async def test_getfd_keeps_a_descriptor_until_closefd(serve: Serve, tmp_path: Path, pipe: tuple[int, int]) -> None:
    await serve()

    client, kept = await hand_over(tmp_path / "qmp.sock", pipe[1], b'{"execute":"getfd","arguments":{"fdname":"pipe"}}')
    closed = await client.ask("closefd", fdname="pipe")
    again = await client.ask("closefd", fdname="pipe")
    await client.close()

    assert (kept, closed) == ({"return": {}}, {"return": {}})
    assert again["error"]["desc"] == "File descriptor named 'pipe' not found"


async def test_add_fd_is_listed_until_it_is_removed(serve: Serve, tmp_path: Path, pipe: tuple[int, int]) -> None:
    await serve()

    client, added = await hand_over(
        tmp_path / "qmp.sock", pipe[1], b'{"execute":"add-fd","arguments":{"fdset-id":7,"opaque":"x"}}'
    )
    listed = await client.ask("query-fdsets")
    which: dict[str, Any] = {"fdset-id": 7}
    removed = await client.ask("remove-fd", **which)
    empty = await client.ask("query-fdsets")
    await client.close()

    fd = added["return"]["fd"]
    assert added["return"] == {"fdset-id": 7, "fd": fd}
    assert listed["return"] == [{"fdset-id": 7, "fds": [{"fd": fd, "opaque": "x"}]}]
    assert (removed, empty) == ({"return": {}}, {"return": []})


def test_keep_a_name_that_is_a_number_is_refused_and_closed(pipe: tuple[int, int]) -> None:
    names, fd = NamedDescriptors(), os.dup(pipe[0])

    with pytest.raises(QmpError, match=r"^Parameter 'fdname' expects a name not starting with a digit$"):
        names.keep("1", fd)

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_keep_another_under_the_same_name_closes_the_first(pipe: tuple[int, int]) -> None:
    names, fds = NamedDescriptors(), [os.dup(pipe[0]), os.dup(pipe[0])]

    for fd in fds:
        names.keep("a", fd)
    taken = names.take("a")

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fds[0])
    assert taken == fds[1]
    os.close(taken)


def test_keep_too_many_is_refused(pipe: tuple[int, int]) -> None:
    names = NamedDescriptors()
    for number in range(MAX_DESCRIPTORS):
        names.keep(f"fd{number}", os.dup(pipe[0]))

    with pytest.raises(QmpError, match=r"^256 file descriptors are kept already$"):
        names.keep("more", os.dup(pipe[0]))
    names.close()


async def test_set_is_what_a_disk_is_opened_by(serve: Serve, tmp_path: Path) -> None:
    await serve()
    image = tmp_path / "image"
    image.write_bytes(bytes(4096))
    with image.open("rb") as file:
        client, added = await hand_over(tmp_path / "qmp.sock", file.fileno(), b'{"execute":"add-fd"}')
    node: dict[str, Any] = {"driver": "file", "filename": "/dev/fdset/0", "node-name": "n"}
    image.unlink()

    refused = await client.ask("blockdev-add", **node)
    node["read-only"] = True
    opened = await client.ask("blockdev-add", **node)
    removed = await client.ask("remove-fd", **{"fdset-id": 0})  # type: ignore[arg-type]
    nodes = await client.ask("query-named-block-nodes")
    await client.close()

    assert added["return"]["fdset-id"] == 0
    assert refused["error"]["desc"] == "Could not open '/dev/fdset/0': Permission denied"
    assert (opened, removed) == ({"return": {}}, {"return": {}})
    assert [each["image"]["virtual-size"] for each in nodes["return"]] == [4096]
