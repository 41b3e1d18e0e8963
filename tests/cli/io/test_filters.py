# SPDX-License-Identifier: GPL-2.0-or-later
"""Filters under qemu-io and ours: the same scripts, options, messages and images."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.io.conftest import Exercise, without_times

#: Rules for blkdebug, right and wrong.
RULES = {
    "states": (
        '[set-state]\nevent = "write_aio"\nnew_state = "2"\n'
        '[inject-error]\nevent = "read_aio"\nstate = "2"\niotype = "read"\nerrno = "28"\nonce = "on"\n'
    ),
    "sector": '[inject-error "a"]\nevent = "none"\nsector = "2"\nerrno = "0x10"\niotype = "write"\n',
    "several": (
        '[inject-error]\nevent = "none"\nerrno = "1"\niotype = "read"\nonce = "on"\n'
        '[inject-error]\nevent = "none"\nerrno = "2"\niotype = "read"\nonce = "on"\n'
    ),
    "none": "\n# nothing\n",
    "unknown group": '[zork]\nevent = "none"\n',
    "unknown key": '[inject-error]\nevent = "none"\nzork = "1"\n',
    "unknown event": '[inject-error]\nevent = "zork"\n',
    "unknown kind": '[inject-error]\nevent = "none"\niotype = "zork"\n',
    "no event": '[inject-error]\nerrno = "1"\n',
    "no group": 'event = "none"\n',
    "no number": '[inject-error]\nevent = "none"\nerrno = "1x"\n',
    "no truth value": '[inject-error]\nevent = "none"\nonce = "1"\n',
    "no white space": '[inject-error]\nevent="none"\n',
    "blank line": '[inject-error]\n  \nevent = "none"\n',
    "two of one name": '[set-state "a"]\nevent = "none"\n[set-state "a"]\nevent = "none"\n',
}


@pytest.mark.parametrize("name", RULES)
def test_rules_of_a_file_as_qemu_io(raw: Exercise, name: str) -> None:
    raw.write("rules", RULES[name].encode())
    ours, theirs = raw.commands(
        "read 0 512",
        "write -P 7 0 512",
        "read 0 512",
        "read 0 512",
        "write 512 2k",
        "write 4k 512",
        image=("-f", "raw", "blkdebug:rules:disk.raw"),
    )
    assert ours == theirs
    assert raw.same_files("disk.raw")


def test_rules_of_a_file_that_is_not_there_as_qemu_io(raw: Exercise) -> None:
    ours, theirs = raw.commands("read 0 512", image=("-f", "raw", "blkdebug:missing:disk.raw"))
    assert ours == theirs


@pytest.mark.parametrize("filename", ["blkdebug:disk.raw", "blkverify:disk.raw"])
def test_name_without_its_second_part_as_qemu_io(raw: Exercise, filename: str) -> None:
    ours, theirs = raw.commands("read 0 512", image=("-f", "raw", filename))
    assert ours == theirs


@pytest.mark.parametrize(
    "options",
    [
        "align=4096",
        "align=4096,max-transfer=8192",
        "opt-write-zero=4096,max-write-zero=8192,opt-discard=4096,max-discard=8192",
        "align=3",
        "align=0x80000000",
        "align=512,max-transfer=700",
        "align=4096,max-write-zero=512",
        "opt-discard=100,align=512",
        "opt-discard=1024,max-discard=512",
        "inject-error.0.event=none",
        "inject-error.0.event=zork",
        "inject-error.0.errno=3",
        "inject-error.0.event=none,inject-error.0.iotype=write-zeroes",
        "inject-error.0.event=none,inject-error.0.iotype=discard,inject-error.0.errno=11",
        "inject-error.0.event=none,inject-error.0.sector=1,inject-error.0.errno=28",
        "inject-error.0.event=none,inject-error.0.once=on,inject-error.0.immediately=on",
        "set-state.0.event=none,set-state.0.new_state=5,inject-error.0.event=none,inject-error.0.state=5",
        "take-child-perms.0=write,unshare-child-perms.0=resize",
    ],
)
def test_options_of_blkdebug_as_qemu_io(raw: Exercise, options: str) -> None:
    image = ("--image-opts", f"driver=blkdebug,discard=unmap,image.driver=file,image.filename=disk.raw,{options}")
    ours, theirs = raw.commands(
        "read 0 512",
        "write -P 1 512 512",
        "read 512 512",
        "write -z 1k 64k",
        "write -P 2 300 20000",
        "discard 64k 64k",
        "read -P 2 300 20000",
        image=image,
    )
    assert ours == theirs
    assert raw.same_files("disk.raw")


@pytest.mark.parametrize(
    "limits",
    [
        "limits.iops-total=100000",
        "x-bps-write=100000000,x-iops-size=4096,x-iops-total=100000,x-iops-total-max=200000,x-iops-total-max-length=5",
        "x-iops-total=-1",
        "limits.iops-total=1,limits.iops-read=1",
        "limits.iops-size=4",
        "limits.bps-total-max=3",
        "limits.bps-total=3,limits.bps-total-max=2",
        "limits.bps-total=3,limits.bps-total-max-length=0",
        "limits.bps-total=3,limits.bps-total-max-length=2",
        "limits.bps-total=3000000000000000",
        "limits.bps-total=3,limits.bps-total-max=100000000,limits.bps-total-max-length=1000000000",
        "limits.iops-total-max-length=99999999999",
        "limits.zork=1",
    ],
)
def test_throttle_group_as_qemu_io(raw: Exercise, limits: str) -> None:
    ours, theirs = raw.commands(
        "write 0 4k",
        "read 0 4k",
        image=(
            "--object",
            f"throttle-group,id=g,{limits}",
            "--image-opts",
            "driver=throttle,throttle-group=g,file.driver=file,file.filename=disk.raw",
        ),
    )
    assert ours == theirs


@pytest.mark.parametrize(
    "options",
    [
        "driver=throttle",
        "driver=throttle,throttle-group=zork",
        "driver=compress",
        "driver=copy-on-read",
        "driver=copy-on-read,bottom=zork",
        "driver=preallocate",
        "driver=preallocate,prealloc-align=100",
    ],
)
def test_filters_over_a_file_as_qemu_io(raw: Exercise, options: str) -> None:
    ours, theirs = raw.commands(
        "write -P 1 1M 512",
        "write -z 1049088 600",
        "length",
        "read -P 1 1M 512",
        "truncate 3M",
        "length",
        image=("--image-opts", f"{options},file.driver=file,file.filename=disk.raw"),
    )
    assert ours == theirs
    assert raw.same_files("disk.raw")


def test_copy_on_read_over_a_chain_as_qemu_io(raw: Exercise) -> None:
    raw.commands("write -P 1 64k 64k", "write -P 2 512k 4k")
    raw.create("top.qcow2", "-f", "qcow2", "-b", "disk.raw", "-F", "raw", "top.qcow2")
    file = "file.driver=qcow2,file.file.driver=file,file.file.filename=top.qcow2"
    ours, theirs = raw.commands(
        "read -P 1 70k 1k",
        "read -P 2 512k 4k",
        "alloc 64k 64k",
        "map",
        image=("--image-opts", f"driver=copy-on-read,{file}"),
    )
    assert ours == theirs
    mapped, mapped_theirs = raw.commands("map", image=("-f", "qcow2", "top.qcow2"))
    assert mapped == mapped_theirs


def test_compress_over_qcow2_as_qemu_io(qcow2: Exercise) -> None:
    options = "driver=compress,file.driver=qcow2,file.file.driver=file,file.file.filename=disk.qcow2"
    ours, theirs = qcow2.commands(
        "write -P 1 0 128k", "write -P 2 200k 1k", "read -P 2 200k 1k", "map", image=("--image-opts", options)
    )
    assert ours == theirs
    assert qcow2.same_images("disk.qcow2")
    check = subprocess.run(
        ["qemu-img", "check", str(qcow2.our_directory / "disk.qcow2")], capture_output=True, text=True, check=True
    )
    assert "100.00% compressed clusters" in check.stdout


def test_blkverify_of_equal_images_as_qemu_io(raw: Exercise) -> None:
    raw.write("copy.raw", bytes(1 << 20))
    options = (
        "driver=blkverify,raw.driver=file,raw.filename=copy.raw,"
        "test.driver=raw,test.file.driver=file,test.file.filename=disk.raw"
    )
    ours, theirs = raw.commands("write -P 5 100 3000", "read -P 5 100 3000", "flush", image=("--image-opts", options))
    assert ours == theirs
    assert raw.same_files("disk.raw")
    assert raw.same_files("copy.raw")


def test_blkverify_of_a_difference_ends_the_program_as_qemu_io(raw: Exercise) -> None:
    raw.write("copy.raw", bytes(1 << 19) + b"x" + bytes((1 << 19) - 1))
    options = (
        "driver=blkverify,raw.driver=file,raw.filename=copy.raw,"
        "test.driver=raw,test.file.driver=file,test.file.filename=disk.raw"
    )
    words = ["-c", "read 0 4k", "-c", "read 512k 4k", "-c", "read 0 4k", "--image-opts", options]
    theirs = raw.theirs(*words)
    # A process of its own: it ends at once.
    ours = subprocess.run(
        [sys.executable, "-m", "asyncemu", "io", *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ours.returncode, without_times(ours.stdout), ours.stderr) == (theirs.status, theirs.output, theirs.errors)
    assert ours.stderr == "blkverify: read offset=524288 bytes=4096 contents mismatch at offset 524288\n"
