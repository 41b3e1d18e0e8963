"""Small guest programs of ours, cross-compiled."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from guests.errors import FetchError

COMPILER = "riscv64-linux-gnu-gcc"  # Debian package gcc-riscv64-linux-gnu
_FOLDER: Final = Path(__file__).parent
SOURCES: Final[Mapping[str, Path]] = {name: _FOLDER / name / f"{name}.c" for name in ("blockbench", "netbench")}
"""Name in /bin -> its C file."""
HEADER: Final = _FOLDER / "freestanding.h"
# fmt: off
_FLAGS = (
    "-Os", "-std=gnu11", "-Wall", "-Wextra", "-Werror",
    "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-no-pie", "-static", "-nostdlib",
    "-mno-relax",  # gp is never set up, so nothing may be addressed by it
    "-Wl,--build-id=none", "-Wl,-z,norelro", "-s",
)
# fmt: on


def have_compiler() -> bool:
    return shutil.which(COMPILER) is not None


def build(name: str, output: Path) -> None:
    """Compile one of SOURCES; raises FetchError when the compiler refuses."""
    command = [COMPILER, *_FLAGS, "-o", str(output), str(SOURCES[name])]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if "error:" in line]
        raise FetchError(f"{COMPILER} cannot build {SOURCES[name].name}: {(errors or ['no message'])[0]}")
