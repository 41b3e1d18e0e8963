# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole qcow2 image file, from anybody: it is opened, read, checked, repaired and written to.

    1 byte    what is done with it; the rest is the file

May be raised inside: ConfigError, BlockError, OSError. The file can't grow beyond
memory_file.LARGEST, and of a larger disk only parts are read.
"""

from __future__ import annotations

from collections.abc import Sequence

from fuzz.driving import drive
from fuzz.memory_file import LARGEST
from fuzz.seed_images import seed_images
from fuzz.using_image import WAYS, use_image


def fuzz_one(data: bytes) -> None:
    """Use the image in ``data``."""
    way = data[0] % WAYS if data else 0
    drive(lambda context: use_image(context, data[1 : 1 + LARGEST], way))


def seeds() -> Sequence[bytes]:
    """Valid images, and the smallest of their headers."""
    images = seed_images()
    contents = [*images, *(image[:112] for image in images)]
    return [bytes([index % WAYS]) + each for index, each in enumerate(contents)]
