# SPDX-License-Identifier: GPL-2.0-or-later
"""The program: its options, its input, its exit status; and the commands that are about the program."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.io.conftest import Exercise

SCRIPTS = [
    b"length\nread 0 512\nbogus\n",
    b"length\nquit\nlength\n",
    b"length\n  length  \n\nlength",
    b"bogus\nlength\n",
    b"",
    b'\n\n   \nlength extra\n"',
    b"help read x\nhelp bogus\nq\n?\n",
    b"aio_write -q 0 4k\naio_flush\nlength\n",
    b"read -P 1 0 4k\nquit\n",
    b"\xff\xfe\n",
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_commands_from_the_input_as_qemu_io(raw: Exercise, script: bytes) -> None:
    ours, theirs = raw.both("-f", "raw", "disk.raw", stdin=script)
    assert ours == theirs


def test_commands_without_an_image_as_qemu_io(exercise: Exercise) -> None:
    ours, theirs = exercise.both(stdin=b"length\nmap x\naio_flush\nwrite\nsleep\nclose\nbogus\nquit x\n")
    assert ours == theirs


@pytest.mark.parametrize("words", [("--bogus",), ("-Q",), ("-c",), ("-T",), ("-o", "x"), ("--c", "x"), ("a", "b")])
def test_bad_options_as_qemu_io(exercise: Exercise, words: tuple[str, ...]) -> None:
    ours, theirs = exercise.both(*words)
    assert (ours.status, ours.errors) == (theirs.status, theirs.errors)
    assert ours.output.startswith("Usage: qemu-io [OPTIONS]... [-c STRING]... [file]\n")


@pytest.mark.parametrize("words", [("-h", "x"), ("--help",), ("-hV",), ("--he",)])
def test_help_names_every_option_of_qemu_io(exercise: Exercise, words: tuple[str, ...]) -> None:
    ours, theirs = exercise.both(*words)
    assert (ours.status, ours.errors) == (0, "")

    def options(text: str) -> list[str]:
        return re.findall(r"^ +((?:-\w, )?--[\w-]+)", text, re.MULTILINE)

    assert options(ours.output) == options(theirs.output)


def test_version_is_one_of_qemu_7_2(exercise: Exercise) -> None:
    assert exercise.ours("-V").output.startswith("qemu-io version 7.2.")


def test_list_of_commands_as_qemu_io(exercise: Exercise) -> None:
    ours, theirs = exercise.both("-c", "help", "-c", "?", "-c", "help bogus", "-c", "help a b")
    assert ours == theirs


def test_help_of_each_command_names_its_options(exercise: Exercise) -> None:
    names = re.findall(r"^(\w+) ", exercise.theirs("-c", "help").output, re.MULTILINE)
    for name in names:
        ours, theirs = exercise.both("-c", f"help {name}")
        assert ours.output.splitlines()[0] == theirs.output.splitlines()[0]
        assert re.findall(r"^ (-\w), --", ours.output, re.MULTILINE) == re.findall(
            r"^ (-\w), --", theirs.output, re.MULTILINE
        )


def test_commands_about_the_program_as_qemu_io(exercise: Exercise) -> None:
    ours, theirs = exercise.commands(
        "sleep", "sleep x", "sleep 1", "sleep 1x", "sleep 1 2", "sleep -1", "sleep 0x1", "sigraise", "sigraise x",
        "sigraise 0", "sigraise 65", "sigraise 100", "sigraise 1k", "sigraise -1", "sigraise 17", "abort x",
        "bogus", "", "  ", "q", "length",
        image=(),
    )  # fmt: skip
    assert ours == theirs


def test_trace_is_accepted(raw: Exercise) -> None:
    result = raw.ours("-T", "enable=bdrv_*", "-f", "raw", "disk.raw", "-c", "length")
    assert (result.status, result.output, result.errors) == (0, "1 MiB\n", "")


@pytest.mark.parametrize(("command", "number"), [("sigraise 15", signal.SIGTERM), ("sigraise 9", signal.SIGKILL)])
def test_signal_ends_the_process_behind_the_output(raw: Exercise, command: str, number: int) -> None:
    program = "import sys; from asyncemu.cli.io import script; script()"
    words = [sys.executable, "-c", program, "-f", "raw", "disk.raw", "-c", "length", "-c", command, "-c", "length"]
    found = subprocess.run(words, capture_output=True, timeout=60, check=False)
    assert found.returncode == -number
    assert found.stdout == b"1 MiB\n"


def test_abort_ends_the_process(raw: Exercise) -> None:
    program = "import sys; from asyncemu.cli.io import script; script()"
    words = [sys.executable, "-c", program, "-f", "raw", "disk.raw", "-c", "abort"]
    assert subprocess.run(words, capture_output=True, timeout=60, check=False).returncode == -signal.SIGABRT


def test_program_imports_nothing_slow(raw: Exercise) -> None:
    program = (
        "import sys; from asyncemu.cli.io import main;"
        "status = main(['io', '-f', 'raw', 'disk.raw', '-c', 'read 0 1k']);"
        "print(status, {'pydantic', 'uvloop', 'argparse', 'json', 'pathlib', 'tempfile'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout.splitlines()[-1] == "0 set()"


def test_requests_go_on_while_the_input_is_waited_for(raw: Exercise) -> None:
    program = "import sys; from asyncemu.cli.io import script; script()"
    words = [sys.executable, "-c", program, "-f", "raw", "disk.raw"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(b"aio_write 0 4k\n")
        process.stdin.flush()
        output = b""
        deadline = time.monotonic() + 30
        # No newline behind the prompt: the request's line comes without any further command.
        while b"ops/sec)\n" not in output and time.monotonic() < deadline:
            output += os.read(process.stdout.fileno(), 4096)
        process.stdin.close()
    assert b"wrote 4096/4096 bytes at offset 0\n" in output
