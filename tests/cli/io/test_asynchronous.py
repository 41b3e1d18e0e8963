# SPDX-License-Identifier: GPL-2.0-or-later
"""aio_read, aio_write, aio_flush: requests behind the commands' back."""

from __future__ import annotations

from tests.cli.io.conftest import Exercise

COMMANDS = (
    "aio_read 1M 1k",
    "aio_write 1M 1k",
    "aio_write -z 1M 1k",
    "aio_read 0",
    "aio_read x 1",
    "aio_read 0 x",
    "aio_write 0 x",
    "aio_write x 1",
    "aio_read -Z 0 1",
    "aio_write -Z 0 1",
    "aio_read -P x 0 1",
    "aio_write -P x 0 1",
    "aio_read -i 0 1k",
    "aio_write -i 0 1k",
    "aio_read -i 0 x",
    "aio_write -z -i 0 1k",
    "aio_write -u 0 1k",
    "aio_write -u -z 0 1 2",
    "aio_write -u 0",
    "aio_write -z 0 1k 1k",
    "aio_write -z -q 0 1k",
    "aio_write -z x 1",
    "aio_write -z 0 x",
    "aio_write 0 1k 1k",
    "aio_write -f 0 1k",
    "aio_write -C 0 1k",
    "aio_read 0 3G",
    "aio_write -z 0 3G",
    "aio_write -q",
    "aio_write -z -q 0",
    "aio_read -P 9 64k 1k",
    "aio_read -q 1M 1k",
    "aio_read -v 64k 16 16",
    "aio_read -C 0 1k",
    "aio_read -q 0 1k",
)


def test_requests_one_by_one_as_qemu_io(raw: Exercise) -> None:
    ours, theirs = raw.commands(*(each for command in COMMANDS for each in (command, "aio_flush")))
    assert ours == theirs
    assert raw.same_files("disk.raw")


def test_zero_write_is_timed_from_its_beginning(raw: Exercise) -> None:
    # qemu-io 7.2 counts from the host's start.
    assert raw.ours("-f", "raw", "disk.raw", "-c", "aio_write -z 0 1k").output == (
        "wrote 1024/1024 bytes at offset 0\n1 KiB, 1 ops; TIME\n"
    )


def test_requests_without_a_flush_end_before_the_program(raw: Exercise) -> None:
    ours, theirs = raw.commands("aio_write -P 5 0 64k")
    assert ours == theirs
    assert raw.same_files("disk.raw")


def test_several_requests_run_together_and_all_end_in_the_flush(raw: Exercise) -> None:
    result = raw.ours(
        "-f", "raw", "disk.raw",
        *(word for index in range(16) for word in ("-c", f"aio_write -P {index + 1} {index * 4}k 4k")),
        "-c", "aio_flush", "-c", "length",
    )  # fmt: skip
    lines = result.output.splitlines()
    assert sorted(lines[0:-1:2]) == sorted(f"wrote 4096/4096 bytes at offset {index * 4096}" for index in range(16))
    assert lines[-1] == "1 MiB"
    assert (raw.our_directory / "disk.raw").read_bytes()[: 64 << 10] == b"".join(
        bytes((index + 1,)) * 4096 for index in range(16)
    )


def test_close_waits_for_requests(raw: Exercise) -> None:
    result = raw.ours(
        "-c", "open -o driver=raw disk.raw", "-c", "aio_write -q -P 3 0 64k", "-c", "close", "-c",
        "open -o driver=raw disk.raw", "-c", "read -P 3 0 64k",
    )  # fmt: skip
    assert result.status == 0
    assert "verification failed" not in result.output


def test_failed_request_does_not_change_the_exit_status(raw: Exercise) -> None:
    ours, theirs = raw.commands("aio_read -P 1 0 1k", "aio_flush")
    assert (ours.status, theirs.status) == (0, 0)
    assert ours == theirs
