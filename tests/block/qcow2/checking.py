# SPDX-License-Identifier: GPL-2.0-or-later
"""``img check`` of ours and ``qemu-img check`` side by side, on copies of the same image."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import asyncemu.cli.img


class Checked(NamedTuple):
    """What a check has said: exit status, counts, and lines of findings."""

    status: int
    counts: dict[str, Any]
    lines: list[str]


def _told(status: int, output: str, errors: str) -> Checked:
    # Some of QEMU's findings begin with its name.
    lines = [line.removeprefix("qemu-img: ") for line in errors.splitlines()]
    # Here, these come when they are found, and findings when the check has ended.
    lines.sort(key=lambda line: "corruption events will be suppressed" in line)
    counts = json.loads(output) if output.strip() else {}
    counts.pop("filename", None)
    return Checked(status, counts, lines)


def _words(path: Path, repair: str) -> list[str]:
    return ["check", "--output=json", *(["-r", repair] if repair else []), str(path)]


def qemu_checks(path: Path, repair: str = "") -> Checked:
    """Changes the image when it repairs."""
    ended = subprocess.run(
        ["qemu-img", *_words(path, repair)], capture_output=True, text=True, timeout=60, check=False, errors="replace"
    )
    return _told(ended.returncode, ended.stdout, ended.stderr)


def we_check(path: Path, repair: str = "") -> Checked:
    """The same by ours."""
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = asyncemu.cli.img.main(["qemu-img", *_words(path, repair)])
    return _told(status, output.getvalue(), errors.getvalue())


def both(path: Path, repair: str = "") -> tuple[Checked, Checked]:
    """Ours and QEMU's, of the same image, which stays as it is."""
    mine, theirs = path.with_suffix(".ours"), path.with_suffix(".theirs")
    shutil.copy(path, mine)
    shutil.copy(path, theirs)
    return we_check(mine, repair), qemu_checks(theirs, repair)
