# SPDX-License-Identifier: GPL-2.0-or-later
"""Images to measure with; qemu-img makes them, so that both sides read the same bytes."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.tool_process import run

#: Bytes of the large ones: more than the caches of the host's CPU; three of them fit into its memory.
SIZE: Final = 1 << 30
#: Bytes of the one that is compressed, which takes qemu-img seconds.
TEXT_SIZE: Final = 128 << 20


@dataclass(frozen=True, slots=True)
class Images:
    """All in one folder."""

    #: Random bytes.
    raw: Path
    #: The same.
    qcow2: Path
    #: Raw; half of it can be compressed away.
    text: Path
    #: qcow2, empty.
    small: Path
    #: qcow2 of 1 TiB, with some clusters here and there.
    terabyte: Path


def make_images(directory: Path) -> Images:
    """Make them in ``directory``. BenchmarkError."""
    images = Images(*(directory / name for name in ("raw", "qcow2", "text", "small.qcow2", "terabyte.qcow2")))
    with images.raw.open("wb") as file:
        for _ in range(SIZE >> 20):
            file.write(os.urandom(1 << 20))
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(images.raw), str(images.qcow2)])
    chosen = random.Random(1)
    words = [chosen.randbytes(chosen.randrange(2, 12)) for _ in range(4096)]
    with images.text.open("wb") as file:
        for _ in range(TEXT_SIZE >> 20):
            file.write(b"".join(chosen.choices(words, k=170_000))[: 1 << 20].ljust(1 << 20, b" "))
    run(["qemu-img", "create", "-f", "qcow2", str(images.small), "64M"])
    run(["qemu-img", "create", "-f", "qcow2", str(images.terabyte), "1T"])
    writes = [argument for gib in range(0, 1024, 32) for argument in ("-c", f"write {gib}G 64k")]
    run(["qemu-io", "-f", "qcow2", *writes, str(images.terabyte)])
    return images
