# SPDX-License-Identifier: GPL-2.0-or-later
"""break, remove_break, resume, wait_break, over blkdebug."""

from __future__ import annotations

from tests.cli.io.conftest import Exercise

IMAGE = ("-f", "qcow2", "blkdebug::disk.qcow2")


def test_breakpoints_as_qemu_io(qcow2: Exercise) -> None:
    ours, theirs = qcow2.commands(
        "break bogus A",
        "break write_aio A",
        "aio_write 0 4k",
        "wait_break A",
        "read 512k 4k",
        "resume A",
        "aio_flush",
        "remove_break A",
        "remove_break B",
        "resume B",
        "break write_aio C",
        "remove_break C",
        "write 64k 4k",
        image=IMAGE,
    )
    assert ours == theirs
    assert qcow2.same_images("disk.qcow2")


def test_breakpoints_without_blkdebug_as_qemu_io(raw: Exercise) -> None:
    ours, theirs = raw.commands(
        "break write_aio A", "remove_break A", "resume A", "break", "break a", "break a b c", "remove_break", "resume",
        "wait_break",
    )  # fmt: skip
    assert ours == theirs


def test_requests_that_stand_at_a_breakpoint_go_on_when_the_program_ends(qcow2: Exercise) -> None:
    # qemu-io hangs here.
    result = qcow2.ours(*IMAGE, "-c", "break write_aio A", "-c", "aio_write -P 4 0 4k", "-c", "wait_break A")
    assert result.output.splitlines() == [
        "blkdebug: Suspended request 'A'",
        "blkdebug: Resuming request 'A'",
        "wrote 4096/4096 bytes at offset 0",
        "4 KiB, 1 ops; TIME",
    ]


def test_waiting_for_a_request_that_nobody_has_made_fails(qcow2: Exercise) -> None:
    # qemu-io waits for ever.
    result = qcow2.ours(*IMAGE, "-c", "break write_aio A", "-c", "wait_break A")
    assert result.output == "Could not wait for breakpoint A: no request is under way\n"
    assert result.status == 1


def test_waiting_for_a_breakpoint_without_blkdebug_fails(raw: Exercise) -> None:
    result = raw.ours("-f", "raw", "disk.raw", "-c", "wait_break A")
    assert result.output == "Could not wait for breakpoint A: Operation not supported\n"
