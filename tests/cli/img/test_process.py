# SPDX-License-Identifier: GPL-2.0-or-later
"""The program as a process: under qemu-img's name in a script, what it imports, signals, broken pipes, odd names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.cli.img.conftest import Tools

#: The program as it is installed.
PROGRAM = Path(sysconfig.get_path("scripts")) / "asyncemu-img"

#: What only takes time in a tool that starts, looks at an image and ends.
SLOW_MODULES = {
    "pydantic",
    "uvloop",
    "aiohttp",
    "argparse",
    "json",
    "pathlib",
    "inspect",
    "ast",
    "_ssl",
    "multiprocessing",
}

SCRIPT = """\
set -eu
qemu-img --version | head -1 | grep -q '^qemu-img version '
qemu-img create -q -f qcow2 disk.qcow2 64M
qemu-img create -f qcow2 -b disk.qcow2 -F qcow2 overlay.qcow2 | grep -q 'backing_file=disk.qcow2'
test "$(qemu-img info --output=json overlay.qcow2 | sed -n 's/.*"virtual-size": \\([0-9]*\\),/\\1/p')" = 67108864
qemu-img resize overlay.qcow2 +64M >/dev/null
qemu-img convert -p -O raw overlay.qcow2 disk.raw >/dev/null
test "$(stat -c %s disk.raw)" = 134217728
qemu-img compare -q overlay.qcow2 disk.raw
if qemu-img info missing 2>error; then exit 1; fi
grep -qx "qemu-img: Could not open 'missing': Could not open 'missing': No such file or directory" error
qemu-img check -q overlay.qcow2 || exit 1
qemu-img snapshot -c first overlay.qcow2
qemu-img snapshot -l overlay.qcow2 | awk 'NR > 2 { print $2 }'
"""


@pytest.mark.slow
def test_script_for_qemu_runs_with_links_in_path(tmp_path: Path) -> None:
    links = tmp_path / "bin"
    links.mkdir()
    (links / "qemu-img").symlink_to(PROGRAM)
    environment = {**os.environ, "PATH": f"{links}:{os.environ['PATH']}"}
    found = subprocess.run(
        ["sh", "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (found.stdout, found.stderr, found.returncode) == ("first\n", "", 0)


def modules_of(*words: str) -> set[str]:
    """What a process has imported when the command ends. A module that is put off is there, but has nothing in it."""
    code = (
        "import sys; sys.argv = ['asyncemu-img', *sys.argv[1:]]; sys.stdout.reconfigure(write_through=True); import os;"
        "os._exit = lambda status: print('MODULES', *sys.modules, file=sys.stderr);"
        "from asyncemu.cli.img import script; script()"
    )
    # What asserts threads in the tests inspects functions.
    environment = {name: value for name, value in os.environ.items() if name != "ASYNCEMU_DEBUG"}
    command = [sys.executable, "-c", code, *words]
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return set(found.stderr.partition("MODULES ")[2].split())


@pytest.mark.parametrize("command", ["info", "map", "check", "snapshot -l"])
def test_command_imports_nothing_slow(tools: Tools, command: str) -> None:
    tools.take("snapshots.qcow2")
    modules = modules_of(*command.split(), "snapshots.qcow2")
    assert "asyncemu.cli.img" in modules
    assert not modules & (SLOW_MODULES - {"inspect"})


def test_info_imports_nothing_that_reads_or_writes_guest_data(tools: Tools) -> None:
    tools.take("base.qcow2")
    modules = modules_of("info", "base.qcow2")
    assert "asyncemu.block.qcow2.information" in modules
    # io_uring, timers and bells of other threads by ctypes; compression; what reads source lines for tracebacks.
    unused = {"ctypes", "zlib", "tokenize", "_posixsubprocess", "asyncemu.block.io_uring", "asyncemu.loop.iothread"}
    assert not modules & (unused | {f"asyncemu.block.qcow2.{name}" for name in ("reader", "writer", "snapshots")})


def test_module_and_program_print_the_same(tools: Tools) -> None:
    tools.take("base.qcow2")
    words = ["info", "-f", "qcow2", "base.qcow2"]
    module = subprocess.run(
        [sys.executable, "-m", "asyncemu", "img", *words], capture_output=True, text=True, check=True
    )
    program = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=True)
    assert module.stdout == program.stdout == tools.theirs(*words).output


def test_messages_have_the_name_that_it_was_called_by(tools: Tools) -> None:
    module = subprocess.run(
        [sys.executable, "-m", "asyncemu", "img", "info"], capture_output=True, text=True, check=False
    )
    assert module.stderr.splitlines() == [
        "asyncemu-img: Expecting one image file name",
        "Try 'asyncemu-img --help' for more information",
    ]


def test_broken_pipe_is_no_error(tools: Tools) -> None:
    tools.take("base.qcow2")
    reading, writing = os.pipe()
    os.close(reading)
    found = subprocess.run([PROGRAM, "info", "base.qcow2"], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (found.returncode, found.stderr) == (0, b"")


def test_sigint_ends_the_process_by_the_signal(tools: Tools) -> None:
    # It waits for a rate of one byte a second.
    tools.take("raw")
    process = subprocess.Popen([PROGRAM, "convert", "-p", "-r", "1", "raw", "out"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.read(1)
    process.send_signal(signal.SIGINT)
    with process:
        assert process.wait(30) == -signal.SIGINT


def test_closed_standard_streams_do_not_get_the_image(tools: Tools) -> None:
    tools.take("raw")
    command = f"exec {PROGRAM} convert -O qcow2 raw out <&- >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 0
    assert tools.theirs("convert", "-O", "qcow2", "raw", "out").status == 0
    assert not tools.different_files()


@pytest.mark.parametrize("name", [b"a\xff", b"a\nb", b'j\xc3\xa9\xf0\x9f\x98\x80"\\\t\x7f', b"a,b", b"-"])
@pytest.mark.parametrize("output", ["human", "json"])
def test_names_of_any_bytes_are_printed_as_qemu_img_does(tools: Tools, name: bytes, output: str) -> None:
    filename = os.fsdecode(name)
    tools.write(filename, b"x")
    ours, theirs = tools.both("info", "-f", "raw", f"--output={output}", filename)
    assert ours == theirs


def test_missing_file_of_any_bytes_is_named(tools: Tools) -> None:
    ours, theirs = tools.both("info", os.fsdecode(b"a\xff"))
    assert ours == theirs
