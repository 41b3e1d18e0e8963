"""What is done again and what is not, with Debian, mke2fs and the compiler replaced."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from guests import apt, cache, disk, fetch, initramfs, modules, programs
from guests.errors import FetchError

from . import kernel_tree


class Debian:
    """Stands in for the archive: counts fetches, hands out a small tree."""

    def __init__(self) -> None:
        self.fetches = 0

    def fetch(self, work: Path, suites: Sequence[str]) -> tuple[str, dict[str, str], Path]:
        self.fetches += 1
        root = work / "root"
        wanted = {name: ["depends="] for names in modules.GROUPS.values() for name in names}
        kernel_tree.write(root / "usr/lib/modules/6.12-riscv64", wanted)
        for path in ("boot/vmlinux-6.12-riscv64", "usr/bin/busybox"):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(path.encode())
        return suites[0], {"busybox-static": "1"}, root


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> Debian:
    archive = Debian()
    monkeypatch.setattr(fetch, "_fetch", archive.fetch)
    monkeypatch.setattr(disk, "SIZE", 4)
    monkeypatch.setattr(disk, "build", lambda image: image.write_bytes(b"disk"))
    monkeypatch.setattr(programs, "have_compiler", lambda: False)
    return archive


def test_ensure_empty_cache_is_filled(tmp_path: Path, debian: Debian) -> None:
    guest = fetch.ensure(tmp_path)

    manifest = cache.load(guest.directory)
    assert manifest is not None
    assert (manifest.suite, manifest.kernel_release, manifest.blockbench) == ("trixie", "6.12-riscv64", False)
    assert guest.image.read_bytes() == b"boot/vmlinux-6.12-riscv64"
    assert guest.disk.read_bytes() == b"disk"
    assert b"asyncemu: userspace" in gzip.decompress(guest.initrd.read_bytes())
    assert set(manifest.files) >= {"Image", "busybox", "disk.img", "initrd.cpio.gz", "modules/ext4.ko"}


def test_ensure_valid_cache_is_left_alone(tmp_path: Path, debian: Debian) -> None:
    before = fetch.ensure(tmp_path).initrd.stat().st_ino

    assert fetch.ensure(tmp_path).initrd.stat().st_ino == before
    assert debian.fetches == 1


def test_ensure_changed_init_rebuilds_the_initrd_alone(
    tmp_path: Path, debian: Debian, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = fetch.ensure(tmp_path)
    guest.disk.write_bytes(b"mine")
    init = tmp_path / "init"
    init.write_text("#!/bin/sh\necho another\n")
    monkeypatch.setattr(initramfs, "INIT", init)

    fetch.ensure(tmp_path)

    assert b"echo another" in gzip.decompress(guest.initrd.read_bytes())
    assert guest.disk.read_bytes() == b"mine"
    assert debian.fetches == 1


def test_ensure_changed_module_list_fetches_again_and_keeps_the_disk(
    tmp_path: Path, debian: Debian, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = fetch.ensure(tmp_path)
    guest.disk.write_bytes(b"mine")
    monkeypatch.setattr(fetch, "GROUPS", {"base": ("virtio_blk",)})

    fetch.ensure(tmp_path)

    assert debian.fetches == 2
    assert guest.disk.read_bytes() == b"mine"
    assert [path.name for path in (guest.directory / "modules").iterdir()] == ["virtio_blk.ko"]


def test_ensure_shortened_disk_is_made_anew_without_fetching(tmp_path: Path, debian: Debian) -> None:
    guest = fetch.ensure(tmp_path)
    guest.disk.write_bytes(b"")

    fetch.ensure(tmp_path)

    assert guest.disk.read_bytes() == b"disk"
    assert debian.fetches == 1


def test_ensure_shortened_image_is_fetched_again(tmp_path: Path, debian: Debian) -> None:
    guest = fetch.ensure(tmp_path)
    guest.image.write_bytes(b"")

    fetch.ensure(tmp_path)

    assert guest.image.read_bytes() == b"boot/vmlinux-6.12-riscv64"
    assert debian.fetches == 2


def test_ensure_compiler_installed_later_adds_programs(
    tmp_path: Path, debian: Debian, monkeypatch: pytest.MonkeyPatch
) -> None:
    guest = fetch.ensure(tmp_path)
    monkeypatch.setattr(programs, "have_compiler", lambda: True)
    monkeypatch.setattr(programs, "build", lambda name, output: output.write_bytes(f"the program {name}".encode()))

    fetch.ensure(tmp_path)

    content = gzip.decompress(guest.initrd.read_bytes())
    assert b"the program blockbench" in content
    assert b"the program netbench" in content
    assert debian.fetches == 1


def test_fetch_no_suite_works_names_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(attempt: Path, mirror: object, suite: str) -> tuple[dict[str, str], Path]:
        raise FetchError(f"suite {suite}: out of step")

    monkeypatch.setattr(fetch, "_fetch_suite", refuse)
    monkeypatch.setattr(apt, "tool", str)
    monkeypatch.setattr(fetch, "debian_mirrors", lambda sources: ["a mirror"])

    with pytest.raises(FetchError, match="no suite could be fetched: suite trixie: out of step; suite forky: out of"):
        fetch.ensure(tmp_path)


def test_fetch_no_mirror_says_where_to_add_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apt, "tool", str)
    monkeypatch.setattr(fetch, "machine_sources", list)

    with pytest.raises(FetchError, match=r"no entry of /etc/apt/sources\.list or sources\.list\.d serves"):
        fetch.ensure(tmp_path)


def test_main_changed_file_fails_verification_with_status_2(
    tmp_path: Path, debian: Debian, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASYNCEMU_GUEST_CACHE", str(tmp_path))
    guest = fetch.ensure(tmp_path)
    guest.image.write_bytes(guest.image.read_bytes().upper())
    monkeypatch.setattr(sys, "argv", ["guests.fetch", "--verify"])
    capsys.readouterr()

    assert fetch.main() == 2
    assert capsys.readouterr().err.startswith(f"guests: {guest.image} has changed since it was built: remove")


def test_main_valid_cache_prints_its_directory(
    tmp_path: Path, debian: Debian, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASYNCEMU_GUEST_CACHE", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["guests.fetch"])

    assert fetch.main() == 0
    assert capsys.readouterr().out == f"{tmp_path / 'riscv64'}\n"


def test_fetch_run_as_a_file_finds_its_package(tmp_path: Path) -> None:
    script = Path(fetch.__file__)
    done = subprocess.run([sys.executable, "-I", str(script), "--help"], cwd=tmp_path, capture_output=True, text=True)

    assert done.returncode == 0
    assert "--verify" in done.stdout


def test_init_has_valid_shell_syntax() -> None:
    subprocess.run(["sh", "-n", str(initramfs.INIT)], check=True)


def test_order_file_lists_groups_in_load_order() -> None:
    groups = {"console": ["virtio", "virtio_mmio"], "base": ["virtio_blk"]}

    assert initramfs.order_file(groups) == b"console virtio\nconsole virtio_mmio\nbase virtio_blk\n"
