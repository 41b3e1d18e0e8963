# SPDX-License-Identifier: GPL-2.0-or-later
"""Damage to valid qcow2 images: the input says what is changed in which, and how.

    1 byte            what is done with it
    1 byte            which image of seed_images.py
    then each edit:   1 byte kind, 2 bytes where, then the value: see _edit

Edits hit metadata more often than not: words of 8 bytes that are neither zero nor guest data. May be raised inside:
ConfigError, BlockError, OSError.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Final

from fuzz.choices import Choices
from fuzz.driving import drive
from fuzz.seed_images import DATA_BYTE, seed_images
from fuzz.using_image import WAYS, use_image

#: More would hardly leave an image.
_MOST_EDITS: Final = 16
_WORD: Final = 8
_DATA_WORD: Final = bytes([DATA_BYTE]) * _WORD
#: Flags of entries of L1, L2 and refcount tables, and a word of each width.
_FLIPS: Final = (1 << 63, 1 << 62, 1, 1 << 9, 1 << 8, 1 << 16, 1 << 56, 1 << 32, 0xFF << 48)


def fuzz_one(data: bytes) -> None:
    """Use the image that the edits in ``data`` leave."""
    image = edited(data[1:])
    way = data[0] % WAYS if data else 0
    drive(lambda context: use_image(context, image, way))


def seeds() -> Sequence[bytes]:
    """An edit of each kind to each image."""
    samples = itertools.product(range(len(seed_images())), range(8), (3, 7, 40))
    return [
        bytes([number % WAYS, image, kind, 0, place]) + b"\x80" + bytes(7)
        for number, (image, kind, place) in enumerate(samples)
    ]


def edited(data: bytes) -> bytes:
    """The image that ``data``, without its first byte, is about."""
    choices = Choices(data)
    number = choices.number(1) % len(seed_images())
    image = bytearray(seed_images()[number])
    for _ in range(_MOST_EDITS):
        if not choices.left or not image:
            break
        _edit(image, choices, _metadata(number))
    return bytes(image)


@functools.cache
def _metadata(number: int) -> tuple[int, ...]:
    """Offsets of words of 8 bytes that are worth changing."""
    image = seed_images()[number]
    words = ((at, image[at : at + _WORD]) for at in range(0, len(image), _WORD))
    return tuple(at for at, word in words if any(word) and word != _DATA_WORD)


def _edit(image: bytearray, choices: Choices, metadata: Sequence[int]) -> None:
    kind = choices.number(1)
    at = choices.below(1 << 16)
    at = metadata[at % len(metadata)] if kind & 0x80 == 0 else at * _WORD
    at %= max(len(image) - _WORD, 1)
    old = int.from_bytes(image[at : at + _WORD], "big")
    match kind & 7:
        case 0:
            new = choices.number(_WORD)
        case 1:
            new = old ^ choices.of(_FLIPS)
        case 2:
            # Another place in the file, in small steps and large ones.
            new = old + (choices.number(1) - 128 << choices.number(1) % 48)
        case 3:
            new = old & (1 << 63) | choices.below(len(image) // 512 + 2) * 512
        case 4:
            from_there = choices.of(metadata[:256])
            new = int.from_bytes(image[from_there : from_there + _WORD], "big")
        case 5:
            # One byte.
            image[at + choices.number(1) % _WORD] = choices.number(1)
            return
        case 6:
            new = choices.number(4) << 32 | old & 0xFFFF_FFFF
        case _:
            del image[max(at, 64) :]
            return
    image[at : at + _WORD] = (new & (1 << 64) - 1).to_bytes(_WORD, "big")
