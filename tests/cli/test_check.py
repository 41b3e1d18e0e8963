# SPDX-License-Identifier: GPL-2.0-or-later
"""``check``: what would be built, and nothing changed by asking."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncemu.block.file.locking import ImageLocks
from asyncemu.block.flags import PERM_ALL, PERM_WRITE
from tests.cli.conftest import Result

KERNEL = Path(__file__).parents[2] / "asyncemu" / "cli" / "demo.elf"

FULL = f"""
[machine]
memory = "64M"
kernel = "{KERNEL}"
append = "console=hvc0"

[[chardev]]
id = "con"
backend = "file"
path = "output"

[[chardev]]
id = "sock"
backend = "socket"
path = "socket"
server = true

[[blockdev]]
node-name = "disk0"
driver = "raw"
file = {{ driver = "file", filename = "disk.img", cache = {{ no-flush = true }} }}

[[device]]
id = "vda"
driver = "virtio-blk"
drive = "disk0"
num-queues = 2

[[device]]
driver = "virtio-console"
chardev = "con"
ports = [{{ chardev = "sock", name = "org.example" }}]
"""

SUMMARY = f"""\
vm.toml: ok
  machine   virt, 64MiB, 1 vCPU, tcg
  kernel    {KERNEL}
  append    console=hvc0
  chardev   file con, path output
  chardev   socket sock, path socket, server true
  blockdev  raw disk0, file {{driver file, filename disk.img, cache {{no-flush true}}}}
  device    virtio-blk vda, drive disk0, num-queues 2
  device    virtio-console, chardev con, ports [{{chardev sock, name org.example}}]
"""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(1 << 20))
    return path


@pytest.mark.usefixtures("disk")
def test_check_good_config_prints_what_would_be_built(
    asyncemu: Callable[..., Result], vm: Callable[[str], None]
) -> None:
    vm(FULL)

    assert asyncemu("check", "vm.toml") == Result(0, SUMMARY, "")


def test_check_opens_nothing_for_writing(
    disk: Path, asyncemu: Callable[..., Result], vm: Callable[[str], None], tmp_path: Path
) -> None:
    vm(FULL)
    before = disk.stat().st_mtime_ns

    asyncemu("check", "vm.toml")

    assert disk.stat().st_mtime_ns == before
    assert {each.name for each in tmp_path.iterdir()} == {"vm.toml", "disk.img"}


def test_check_empty_config_says_that_the_vcpu_waits(
    asyncemu: Callable[..., Result], vm: Callable[[str], None]
) -> None:
    vm("")

    result = asyncemu("check", "vm.toml")

    assert result == Result(
        0, "vm.toml: ok\n  machine   virt, 128MiB, 1 vCPU, tcg\n  kernel    none: the vCPU waits\n", ""
    )


def test_check_qtest_has_no_vcpu(asyncemu: Callable[..., Result], vm: Callable[[str], None]) -> None:
    vm('[machine]\nqtest = "unix:q"')

    result = asyncemu("check", "vm.toml")

    assert result == Result(0, "vm.toml: ok\n  machine   virt, 128MiB, no vCPU\n  qtest     unix:q\n", "")


def test_check_overrides_count(asyncemu: Callable[..., Result], vm: Callable[[str], None]) -> None:
    vm("")

    assert "virt, 1GiB," in asyncemu("check", "vm.toml", "--set", "machine.memory=1G").output


@pytest.mark.parametrize(
    ("share_rw", "expected"),
    [
        ("false", 'device[0].d: Failed to get shared "write" lock; Is another process using the image [disk.img]?\n'),
        ("true", ""),
    ],
)
def test_check_disk_in_use_is_refused_unless_the_device_shares_it(
    disk: Path, asyncemu: Callable[..., Result], vm: Callable[[str], None], share_rw: str, expected: str
) -> None:
    vm(
        '[[blockdev]]\nnode-name = "d"\ndriver = "file"\nfilename = "disk.img"\n'
        f'[[device]]\ndriver = "virtio-blk"\ndrive = "d"\nshare-rw = {share_rw}'
    )
    fd = os.open(disk, os.O_RDWR)
    ImageLocks(fd, "disk.img", "d", required=True).prepare(PERM_WRITE, PERM_ALL)

    result = asyncemu("check", "vm.toml")
    os.close(fd)

    assert (result.status, result.errors) == (2 if expected else 0, f"asyncemu: {expected}" if expected else "")


@pytest.mark.parametrize("extra", ["", "read-only = true\n"])
@pytest.mark.usefixtures("disk")
def test_check_file_that_may_not_be_written_is_refused_unless_read_only(
    extra: str, asyncemu: Callable[..., Result], vm: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere, and tests may run as root.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    vm(f'[[blockdev]]\nnode-name = "d"\ndriver = "raw"\n{extra}file = {{ driver = "file", filename = "disk.img" }}')

    result = asyncemu("check", "vm.toml")

    complaint = (
        "asyncemu: blockdev[0].file.filename: Could not open 'disk.img': Permission denied; "
        "set read-only = true if it is only to be read\n"
    )
    assert (result.status, result.errors) == {"": (2, complaint)}.get(extra, (0, ""))


def test_check_all_faults_of_the_host_at_once(asyncemu: Callable[..., Result], vm: Callable[[str], None]) -> None:
    vm(
        '[machine]\nkernel = "nope"\n'
        '[[blockdev]]\nnode-name = "a"\ndriver = "file"\nfilename = "a.img"\n'
        '[[blockdev]]\nnode-name = "b"\ndriver = "file"\nfilename = "b.img"\n'
    )

    result = asyncemu("check", "vm.toml")

    assert [line.split(": ")[1] for line in result.errors.splitlines()] == [
        "machine.kernel",
        "blockdev[0].filename",
        "blockdev[1].filename",
    ]


def test_check_says_which_monitors_there_would_be(asyncemu: Callable[..., Result], vm: Callable[[str], None]) -> None:
    vm(
        '[qmp]\nlisten = ["unix:q.sock", "ws::1", "tcp::2"]\n'
        '[[chardev]]\nid = "c"\nbackend = "null"\n[[monitor]]\nchardev = "c"\n'
    )

    result = asyncemu("check", "vm.toml")

    monitors = [line.split(maxsplit=1)[1] for line in result.output.splitlines() if line.startswith("  monitor")]
    assert monitors == [
        "c, human, chardev c",
        "compat_monitor0, QMP, unix:q.sock",
        "compat_monitor1, QMP, 127.0.0.1:1",
        "compat_monitor2, QMP, 127.0.0.1:2",
    ]
