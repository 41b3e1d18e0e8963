# SPDX-License-Identifier: GPL-2.0-or-later
"""What fuzzing has found, once it was repaired."""

from __future__ import annotations

import pytest

from asyncemu.block.open_mode import OpenMode
from asyncemu.loop import AioContext
from asyncemu.testing.memory_disk import MemoryDisk
from fuzz.driving import image_errors
from fuzz.seed_images import seed_images
from fuzz.using_image import opened_image, qcow2_driver

#: Of the header: how many snapshots there are.
NB_SNAPSHOTS = slice(60, 64)
MAX_SNAPSHOTS = 65536


@pytest.mark.slow
async def test_repair_of_a_table_of_many_snapshots_reads_it_in_large_pieces(context: AioContext) -> None:
    image = bytearray(seed_images()[0])
    image[NB_SNAPSHOTS] = (MAX_SNAPSHOTS - 1).to_bytes(4, "big")

    async with opened_image(context, bytes(image), read_only=False, mode=OpenMode(check=True)) as node:
        driver = qcow2_driver(node)
        file = driver.file.node.driver
        assert isinstance(file, MemoryDisk)
        # What the table claims to be overlaps with all else, so in the end it can't be written.
        with image_errors():
            await driver.check("all", lambda done, total: None)

    reads = [length for method, _, length in file.requests if method == "preadv"]
    assert len(reads) < MAX_SNAPSHOTS // 10
