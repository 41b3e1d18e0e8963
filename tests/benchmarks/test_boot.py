# SPDX-License-Identifier: GPL-2.0-or-later
"""What the boot benchmark reads of the guest, and that both sides get the same machine."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.boot import ReadLatency, parse_blockbench
from benchmarks.emulators import MEMORY, Asyncemu, Guest, Qemu, vm_toml
from benchmarks.errors import BenchmarkError
from benchmarks.process import Mapping

GUEST = Guest(Path("/g/Image"), Path("/g/initrd"), Path("/g/a,b.img"), "console=ttyS0 session=shell")


@pytest.fixture
def qemu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Qemu:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return Qemu(tmp_path)


def test_parse_blockbench_among_kernel_messages_gives_microseconds() -> None:
    output = "[ 1.0] vda\r\nblockbench: reads=2000 median_ns=291300 p99_ns=468900 mean_ns=299759\r\n[ 2.0] bye\r\n"
    assert parse_blockbench(output) == ReadLatency(291.3, 468.9)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_parse_blockbench_inverts_formatting(median: int, p99: int) -> None:
    output = f"blockbench: reads=2000 median_ns={median} p99_ns={p99} mean_ns=1\n"
    assert parse_blockbench(output) == ReadLatency(median / 1000, p99 / 1000)


@given(st.text(max_size=100))
def test_parse_blockbench_of_any_other_text_raises_benchmark_error(text: str) -> None:
    with pytest.raises(BenchmarkError, match="blockbench gave no result"):
        parse_blockbench(text)


def test_parse_blockbench_failed_quotes_the_guest() -> None:
    with pytest.raises(BenchmarkError, match="no result: FAILED: no /dev/vda"):
        parse_blockbench("blockbench: FAILED: no /dev/vda\r\n")


def test_vm_toml_with_quotes_in_a_path_is_read_back() -> None:
    guest = Guest(Path('/g/"x"\\y'), GUEST.initrd, GUEST.disk, GUEST.command_line)
    assert tomllib.loads(vm_toml(guest))["machine"]["kernel"] == '/g/"x"\\y'


def test_vm_toml_has_the_guest_and_its_devices() -> None:
    config = tomllib.loads(vm_toml(GUEST))
    assert config["machine"]["append"] == GUEST.command_line
    assert config["machine"]["memory"] == f"{MEMORY}MiB"
    assert config["blockdev"][0]["filename"] == "/g/a,b.img"
    assert [device["driver"] for device in config["device"]] == ["virtio-blk", "virtio-rng"]


def test_qemu_command_has_the_same_machine(qemu: Qemu) -> None:
    command = qemu.command(GUEST)
    assert command[command.index("-m") + 1] == f"{MEMORY}M"
    assert command[command.index("-append") + 1] == GUEST.command_line
    assert "virtio-mmio.force-legacy=false" in command
    assert [word.split(",")[0] for word in command if word.startswith("virtio-")][1:] == [
        "virtio-blk-device",
        "virtio-rng-device",
    ]


def test_qemu_command_with_comma_in_path_doubles_it(qemu: Qemu) -> None:
    command = qemu.command(GUEST)
    assert command[command.index("-drive") + 1].endswith("file=/g/a,,b.img")


def test_qemu_not_installed_raises_benchmark_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BenchmarkError, match="not found: install Debian's packages qemu-system-misc and opensbi"):
        Qemu(tmp_path)


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        (Mapping(MEMORY << 20, 0, "rw-p", ""), True),
        (Mapping(MEMORY << 20, 0, "rwxp", ""), False),
        (Mapping(MEMORY << 19, 0, "rw-p", ""), False),
        (Mapping(MEMORY << 20, 0, "rw-p", "/lib/x"), False),
    ],
)
def test_qemu_ram_is_the_writable_anonymous_mapping_of_its_size(qemu: Qemu, mapping: Mapping, expected: bool) -> None:
    assert qemu.is_guest_ram(mapping) is expected


@pytest.mark.parametrize(("name", "expected"), [("/memfd:asyncemu-ram (deleted)", True), ("/memfd:other", False)])
def test_our_ram_is_the_memfd_of_its_name(tmp_path: Path, name: str, expected: bool) -> None:
    assert Asyncemu(tmp_path).is_guest_ram(Mapping(4096, 0, "rw-s", name)) is expected
