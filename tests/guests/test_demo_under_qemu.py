"""The demo's program runs unchanged under QEMU: what it says there is what it must say on our board."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

BINARY = Path(__file__).parents[2] / "asyncemu" / "cli" / "demo.elf"
QEMU = "qemu-system-riscv64"
DISK_SIZE, TESTED_SIZE = 4 << 20, 1 << 20

CONSOLE = ["-device", "virtio-serial-device", "-chardev", "stdio,id=c0", "-device", "virtconsole,chardev=c0"]
CONSOLE += ["-serial", "null"]
FIRMWARE_CONSOLE = ["-serial", "stdio"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.guest,
    pytest.mark.skipif(shutil.which(QEMU) is None, reason=f"needs {QEMU} (Debian: qemu-system-misc)"),
]


def boot(*arguments: str) -> str:
    command = [QEMU, "-M", "virt", "-bios", "default", "-kernel", str(BINARY), "-display", "none", "-monitor", "none"]
    command += ["-global", "virtio-mmio.force-legacy=false", *arguments]
    return subprocess.run(
        command, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    ).stdout


def drive(path: Path, options: str = "", device: str = "") -> list[str]:
    return [
        "-drive",
        f"file={path},format=raw,if=none,id=d0{options}",
        "-device",
        f"virtio-blk-device,drive=d0{device}",
    ]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(bytes(DISK_SIZE))
    return path


def test_demo_console_and_disk_reads_back_what_it_wrote(disk: Path) -> None:
    output = boot(*CONSOLE, *drive(disk, device=",serial=demo-disk"))

    assert "through a virtqueue of the virtio-console" in output
    assert '4096 KiB (8192 sectors), serial "demo-disk"' in output
    assert "all 1024 KiB read back as written" in output
    assert output.rstrip().endswith("All is well. Powering off.")


def test_demo_disk_only_its_tested_end_is_written(disk: Path) -> None:
    boot(*CONSOLE, *drive(disk))

    contents = disk.read_bytes()
    assert not any(contents[:-TESTED_SIZE])
    assert all(any(contents[at : at + 512]) for at in range(DISK_SIZE - TESTED_SIZE, DISK_SIZE, 512))


def test_demo_read_only_disk_is_not_written(disk: Path) -> None:
    output = boot(*CONSOLE, *drive(disk, options=",readonly=on"))

    assert "read-only" in output
    assert output.rstrip().endswith("All is well. Powering off.")
    assert not any(disk.read_bytes())


def test_demo_no_disk_says_so_and_goes_on() -> None:
    output = boot(*CONSOLE)

    assert "no virtio-blk device: skipped" in output
    assert output.rstrip().endswith("All is well. Powering off.")


def test_demo_no_virtio_console_speaks_through_the_firmware(disk: Path) -> None:
    output = boot(*FIRMWARE_CONSOLE, *drive(disk))

    assert "this text comes through the firmware" in output
    assert output.rstrip().endswith("All is well. Powering off.")


def test_demo_failing_disk_says_fail_and_powers_off(disk: Path, tmp_path: Path) -> None:
    rules = tmp_path / "blkdebug.conf"
    rules.write_text('[inject-error]\nevent = "write_aio"\nerrno = "5"\n')

    output = boot(*CONSOLE, *drive(Path(f"blkdebug:{rules}:{disk}"), options=",werror=report"))

    assert output.rstrip().endswith("FAIL: disk: write answered with status 1")


def test_demo_several_harts_boots_on_whichever_starts() -> None:
    output = boot(*CONSOLE, "-smp", "4")

    assert output.rstrip().endswith("All is well. Powering off.")
