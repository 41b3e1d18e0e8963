# SPDX-License-Identifier: GPL-2.0-or-later
"""Command lines that start no server, against qemu-nbd: messages and exit statuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.holding import held
from tests.cli.nbd.conftest import qemu_nbd, refused

REFUSED = [
    (),
    ("a", "b"),
    ("--bogus", "disk.raw"),
    ("-Q",),
    ("-p",),
    ("--per", "--no-such"),
    ("--s",),
    ("--d", "x"),
    ("-k", "relative", "disk.raw"),
    ("-k", "", "disk.raw"),
    ("-e", "x", "disk.raw"),
    ("-e", "-1", "disk.raw"),
    ("-e", "99999999999", "disk.raw"),
    ("-e", "5x", "disk.raw"),
    ("-o", "x", "disk.raw"),
    ("-o", "1M", "disk.raw"),
    ("-o", "18446744073709551616", "disk.raw"),
    ("--cache=bogus", "disk.raw"),
    ("--aio=bogus", "disk.raw"),
    ("--discard=bogus", "disk.raw"),
    ("--detect-zeroes=bogus", "disk.raw"),
    ("--detect-zeroes=unmap", "disk.raw"),
    ("--cache=none", "--cache=writeback", "disk.raw"),
    ("-n", "--cache=none", "disk.raw"),
    ("--aio", "threads", "--aio", "native", "disk.raw"),
    ("--discard=unmap", "--discard=ignore", "disk.raw"),
    ("-l", "snapshot.bogus=1", "disk.raw"),
    ("-x", "n" * 5000, "disk.raw"),
    ("-D", "d" * 5000, "disk.raw"),
    ("--object", "bogus,id=x", "disk.raw"),
    ("--tls-creds=t0", "disk.raw"),
    ("--object", "secret,id=t0,data=x", "--tls-creds=t0", "disk.raw"),
    ("--tls-authz=a0", "disk.raw"),
    ("--tls-hostname=x", "disk.raw"),
    ("-d", "/nonexistent"),
    ("-d", "a", "b"),
    ("-L", "disk.raw"),
    ("-L", "-x", "name"),
    ("-L", "-f", "raw"),
    ("-L", "-o", "5"),
    ("-L", "-D", "x"),
    ("-L", "-B", "x"),
    ("-L", "-A"),
    ("-L", "-n"),
    ("-L", "--aio=native"),
    ("-L", "--discard=unmap"),
    ("-L", "-l", "snap"),
    ("-L", "-c", "/dev/nbd0"),
    ("-L", "--fork"),
    ("-L", "--tls-hostname=x"),
    ("-L", "-k", "/nonexistent/socket"),
    ("-L", "-b", "127.0.0.1", "-p", "1"),
    ("-L", "-r", "-v", "-t", "-e", "5", "-s", "-b", "127.0.0.1", "-p", "1"),
]


@pytest.mark.parametrize("words", REFUSED, ids=[" ".join(words)[:40] for words in REFUSED])
def test_refused_as_qemu_nbd(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert refused(monkeypatch, *words) == qemu_nbd(*words)


BAD_IMAGES = [
    ("-f", "qcow2", "-l", "snapshot.id,snapshot.name", "disk.qcow2"),
    ("-f", "qcow2", "-l", "snapshot.id=1,foo", "disk.qcow2"),
    ("-f", "qcow2", "-l", "snapshot.id=1,id=1x", "disk.qcow2"),
    ("--image-opts", "driver=raw,file.filename=missing,noread-only"),
    ("--image-opts", "driver=raw,file.filename=missing,id=1x"),
    ("-f", "raw", "missing"),
    ("-f", "bogus", "disk.raw"),
    ("-f", "qcow2", "disk.raw"),
    ("-f", "raw", "--image-opts", "driver=raw"),
    ("--image-opts", "driver=raw,file.driver=file,file.filename=missing"),
    ("-f", "raw", "-o", "1048577", "disk.raw"),
    ("-f", "raw", "-o", "-1", "disk.raw"),
    ("-f", "raw", "-o", "9223372036854775808", "disk.raw"),
    ("-f", "raw", "-l", "snap", "disk.raw"),
    ("-f", "qcow2", "-l", "no-such", "disk.qcow2"),
    ("-f", "qcow2", "-l", "snapshot.id=2,snapshot.name=snap", "disk.qcow2"),
    ("-f", "qcow2", "-l", "snapshot.id=", "disk.qcow2"),
    ("-f", "qcow2", "-l", "snapshot", "disk.qcow2"),
    ("-f", "qcow2", "-s", "-l", "snap", "disk.qcow2"),
    ("-f", "raw", "-B", "bitmap", "disk.raw"),
    ("-f", "qcow2", "-B", "bitmap", "disk.qcow2"),
    ("-f", "raw", "--pid-file=/nonexistent/pid", "disk.raw"),
    ("-f", "raw", "--selinux-label=x", "disk.raw"),
]


@pytest.mark.parametrize("words", BAD_IMAGES, ids=[" ".join(words) for words in BAD_IMAGES])
def test_bad_images_as_qemu_nbd(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("disk.raw").write_bytes(bytes(1 << 20))
    from tests.cli.nbd.conftest import run

    run("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "1M")
    run("qemu-img", "snapshot", "-c", "snap", "disk.qcow2")
    with_socket = ("-k", str(tmp_path / "socket"), *words)
    assert refused(monkeypatch, *with_socket) == qemu_nbd(*with_socket)


def test_image_in_use_is_refused_with_the_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("disk.raw").write_bytes(bytes(1 << 20))
    words = ("-k", str(tmp_path / "socket"), "-f", "raw", "disk.raw")
    with held(tmp_path / "disk.raw"):
        ours = refused(monkeypatch, *words)
        assert ours == qemu_nbd(*words)
    assert ours.errors.endswith("Is another process using the image [disk.raw]?\n")


ADDRESSES = [
    ("-k", "/nonexistent/socket"),
    ("-k", "/" + "x" * 120),
    ("-b", "nosuchhost.invalid"),
    ("-b", "127.0.0.1", "-p", "x"),
]


@pytest.mark.parametrize("words", ADDRESSES, ids=[" ".join(words)[:30] for words in ADDRESSES])
def test_bad_addresses_as_qemu_nbd(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Neither looks at the image before it listens.
    assert refused(monkeypatch, *words, "missing") == qemu_nbd(*words, "missing")


def test_existing_bitmap_is_refused_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from tests.cli.nbd.conftest import run

    run("qemu-img", "create", "-q", "-f", "qcow2", "disk.qcow2", "1M")
    run("qemu-img", "bitmap", "--add", "disk.qcow2", "changes")
    found = refused(monkeypatch, "-k", str(tmp_path / "socket"), "-r", "-f", "qcow2", "-B", "changes", "disk.qcow2")
    assert found.errors == "qemu-nbd: Bitmap 'changes' can't be exported: persistent bitmaps are kept, but not read\n"
    assert found.status == 1


def test_kernel_client_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "device"
    device.write_bytes(b"")
    found = refused(monkeypatch, "-c", str(device), "disk.raw")
    assert found.status == 1
    assert found.errors.startswith("qemu-nbd: the kernel's NBD client is not supported; ")


def test_help_names_every_option_of_qemu_nbd(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = refused(monkeypatch, "--help"), qemu_nbd("--help")
    assert (ours.status, ours.errors) == (0, "")

    def options(text: str) -> set[str]:
        return set(re.findall(r"--[a-z-]+", text)) - {"--tls-hostname"}

    assert options(ours.output) == options(theirs.output)
    assert ours.output.splitlines()[:2] == theirs.output.splitlines()[:2]


def test_version_is_one_of_qemu_7_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(monkeypatch, "-V").output.startswith("qemu-nbd 7.2.")


def test_program_imports_nothing_slow_before_it_serves() -> None:
    import subprocess
    import sys

    program = (
        "import sys; from asyncemu.cli.nbd import main; main(['nbd', '-L', '-k', '/nonexistent']);"
        "print({'pydantic', 'uvloop', 'argparse', 'json', 'pathlib', 'tempfile'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert found.stdout == "set()\n"
