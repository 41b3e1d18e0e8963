from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from guests.apt import PrivateApt, explain, kernel_packages, tool, with_libraries
from guests.errors import FetchError
from guests.sources import Source


def test_kernel_packages_single_package() -> None:
    index = {
        "linux-image-riscv64": {"depends": "linux-image-6.12.1-riscv64 (= 6.12.1-1)"},
        "linux-image-6.12.1-riscv64": {"depends": "kmod, linux-base (>= 4.3~), initramfs-tools | dracut"},
    }

    assert kernel_packages("linux-image-riscv64", index.__getitem__) == ["linux-image-6.12.1-riscv64"]


def test_kernel_packages_split_packages_are_followed() -> None:
    index = {
        "linux-image-riscv64": {"depends": "linux-base-riscv64 (= 7), linux-image-7-riscv64 (= 7)"},
        "linux-image-7-riscv64": {"depends": "linux-base-7-riscv64 (= 7), linux-modules-7-riscv64:any (= 7)"},
        "linux-modules-7-riscv64": {"depends": "kmod, linux-base-7-riscv64"},
        "linux-base-7-riscv64": {},
    }

    assert kernel_packages("linux-image-riscv64", index.__getitem__) == [
        "linux-base-7-riscv64",
        "linux-image-7-riscv64",
        "linux-modules-7-riscv64",
    ]


def test_kernel_packages_no_image_is_refused() -> None:
    with pytest.raises(FetchError, match="linux-image-riscv64 names no kernel image"):
        kernel_packages("linux-image-riscv64", lambda name: {"depends": "linux-base"})


def test_with_libraries_follows_libraries_only_and_ends_in_a_loop() -> None:
    index = {
        "iperf3": {"depends": "libiperf0 (= 3), libc6 (>= 2.36), adduser"},
        "libiperf0": {"depends": "libc6 (>= 2.36)"},
        "libc6": {"depends": "libgcc-s1"},
        "libgcc-s1": {"depends": "gcc-14-base (= 14), libc6"},
    }

    assert with_libraries("iperf3", index.__getitem__) == ["iperf3", "libc6", "libgcc-s1", "libiperf0"]


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        (
            "W: GPG error: x InRelease: NO_PUBKEY 0123\nE: not signed\n",
            "its signing key is missing from /k.gpg; install",
        ),
        ("Err:2 File has unexpected size (1 != 2).\nE: Failed\n", "index files are out of step"),
        ("W: noise\nE: Unable to locate package x\nE: more\n", "Unable to locate package x"),
        ("", "apt failed without a message"),
    ],
)
def test_explain_apt_output_becomes_one_line(stderr: str, expected: str) -> None:
    line = explain(stderr, "/k.gpg")

    assert line.startswith(expected)
    assert "\n" not in line


def test_tool_missing_program_is_named() -> None:
    with pytest.raises(FetchError, match="program 'no-such-program' not found"):
        tool("no-such-program")


@pytest.mark.skipif(shutil.which("apt-config") is None, reason="apt is not installed")
def test_private_apt_configuration_keeps_verification_and_the_architecture(tmp_path: Path) -> None:
    mirror = Source("http://mirror.example/debian", ("bookworm",), ("main",))
    PrivateApt(tmp_path / "apt", mirror, "trixie", "riscv64")

    command = ["apt-config", "-c", str(tmp_path / "apt/apt.conf"), "dump"]
    dump = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert 'APT::Architecture "riscv64";' in dump
    assert 'Acquire::AllowInsecureRepositories "false";' in dump
    assert f'Dir::State::lists "{tmp_path}/apt/state/lists";' in dump
    assert "Post-Invoke:: " not in dump.replace("DPkg::Post-Invoke", "")


def test_private_apt_unreachable_mirror_is_one_line(tmp_path: Path) -> None:
    mirror = Source(f"file:{tmp_path}/nothing", ("bookworm",), ("main",))

    with pytest.raises(FetchError, match=r"^suite trixie: [^\n]+$"):
        PrivateApt(tmp_path / "apt", mirror, "trixie", "riscv64").update()
