# SPDX-License-Identifier: GPL-2.0-or-later
"""``demo`` boots its guest to the end, without a terminal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.guest]


def demo(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asyncemu", "demo", *arguments]
    return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)


def test_demo_without_terminal_reaches_its_last_line(tmp_path: Path) -> None:
    result = demo(cwd=tmp_path)

    assert (result.returncode, result.stderr) == (0, "")
    assert "through a virtqueue of the virtio-console" in result.stdout
    assert '8192 KiB (16384 sectors), serial "demo-scratch"' in result.stdout
    assert "all 1024 KiB read back as written" in result.stdout
    assert result.stdout.rstrip().endswith("All is well. Powering off.")


def test_demo_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    demo(cwd=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_demo_guest_that_fails_exits_1(tmp_path: Path) -> None:
    """A disk that forgets what is written to it: the program says FAIL, and powers off saying that it failed."""
    result = demo("--set", 'blockdev=[{ node-name = "scratch", driver = "null-co", size = 8388608 }]', cwd=tmp_path)

    assert result.returncode == 1
    assert "FAIL: " in result.stdout.splitlines()[-1]
