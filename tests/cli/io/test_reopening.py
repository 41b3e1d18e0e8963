# SPDX-License-Identifier: GPL-2.0-or-later
"""reopen, against qemu-io."""

from __future__ import annotations

import re

from tests.cli.io.conftest import Exercise, Result


def _without_node_names(result: Result) -> tuple[int, str, str]:
    return result.status, result.output, re.sub(r"#block\d+", "#block", result.errors)


def test_reopen_of_qcow2_as_qemu_io(qcow2: Exercise) -> None:
    ours, theirs = qcow2.commands(
        "reopen",
        "reopen -r",
        "write 0 1k",
        "reopen -w",
        "write 0 1k",
        "reopen -c none",
        "write 0 4k",
        "reopen -c bogus",
        "reopen -o lazy-refcounts=on",
        "info",
        "reopen -o bogus=on",
        "reopen -r -w",
        "reopen -rw",
        "reopen -o driver=raw",
        "reopen -o driver=qcow2",
        "reopen x",
        "reopen -Z",
        "reopen -o read-only=on",
        "reopen -r -o read-only=on",
        "reopen -c none -o cache.direct=off",
        "reopen -o cache.direct=off",
        "reopen -o cache.writeback=on",
        "reopen -o",
        "reopen -o discard=unmap",
        "reopen -o overlap-check=none",
        "reopen -o node-name=x",
        "reopen -o file.filename=x",
        "reopen -c writethrough",
        "write 0 1k",
        image=("-f", "qcow2", "disk.qcow2"),
    )
    assert _without_node_names(ours) == _without_node_names(theirs)
    assert qcow2.same_images("disk.qcow2")


def test_reopen_of_raw_as_qemu_io(raw: Exercise) -> None:
    ours, theirs = raw.commands(
        "reopen -r", "write 0 1", "reopen -w", "write 0 1", "reopen -o offset=512", "length", "reopen -o size=1k",
        "length", "read 0 1k", "read 1k 1",
    )  # fmt: skip
    assert ours == theirs


def test_image_that_was_opened_read_only_can_be_made_writable(raw: Exercise) -> None:
    ours, theirs = raw.commands("reopen -w", "write -P 1 0 1", image=("-r", "-f", "raw", "disk.raw"))
    assert ours == theirs
    assert raw.same_files("disk.raw")


def test_reopen_waits_for_requests_under_way(raw: Exercise) -> None:
    ours, theirs = raw.commands("aio_write -P 6 0 64k", "reopen -r", "read -P 6 0 64k")
    assert ours == theirs
    assert raw.same_files("disk.raw")
