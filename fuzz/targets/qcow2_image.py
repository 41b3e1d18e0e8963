# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole qcow2 image file, from anybody: it is opened, read, checked, repaired and written to.

The input is the file. May be raised inside: ConfigError, BlockError, OSError. The file can't grow beyond
memory_file.LARGEST, and of a larger disk only parts are read.
"""

from __future__ import annotations

from collections.abc import Sequence

from fuzz.driving import drive
from fuzz.memory_file import LARGEST
from fuzz.seed_images import seed_images
from fuzz.using_image import use_image


def fuzz_one(data: bytes) -> None:
    """Use the image ``data``."""
    drive(lambda context: use_image(context, data[:LARGEST]))


def seeds() -> Sequence[bytes]:
    """Valid images, and the smallest of their headers."""
    images = seed_images()
    return [*images, *(image[:112] for image in images)]
