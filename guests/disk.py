"""The disk that demos mount: a small ext4 file system in a sparse file, made without root."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from guests.apt import tool
from guests.errors import FetchError

SIZE = 64 * 1024 * 1024  # bytes
_README = "This is asyncemu's demo disk, an ext4 file system of 64 MiB. Write to it as you like.\n"
# The lazy options off: otherwise the guest's kernel would go on initialising tables while it should be idle.
_OPTIONS = "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"


def build(image: Path) -> None:
    """Create `image`; raises FetchError."""
    with tempfile.TemporaryDirectory() as content:
        Path(content).chmod(0o755)
        (Path(content) / "README").write_text(_README)
        command = [tool("mke2fs"), "-q", "-F", "-t", "ext4", "-b", "4096", "-N", "2048", "-L", "asyncemu"]
        command += ["-E", _OPTIONS, "-d", content, str(image), str(SIZE // 4096)]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        first = (done.stderr.splitlines() or ["no message"])[0]
        raise FetchError(f"mke2fs cannot make {image.name}: {first}")
