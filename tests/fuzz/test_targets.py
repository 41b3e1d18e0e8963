# SPDX-License-Identifier: GPL-2.0-or-later
"""Every target survives its seeds, and changes of them at random; the same ones each time."""

from __future__ import annotations

import random

import pytest

from fuzz.targets import NAMES, load

#: Changed seeds of each target: what takes about half a second.
COUNTS = {"qcow2_image": 40, "net_control": 25, "qcow2_mutation": 60, "nbd_server": 80, "nbd_client": 80}
MANY = 500


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_fuzz_one_survives_its_seeds(name: str) -> None:
    target = load(name)
    seeds = target.seeds()
    for data in [b"", *seeds]:
        target.fuzz_one(data)

    assert seeds
    assert target.summary


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_fuzz_one_survives_changed_seeds(name: str) -> None:
    target, choice = load(name), random.Random(20)
    seeds = target.seeds()
    for _ in range(COUNTS.get(name, MANY)):
        target.fuzz_one(changed(choice.choice(seeds), choice))


def changed(data: bytes, choice: random.Random) -> bytes:
    """One to four changes of a byte, a length or an order."""
    new = bytearray(data)
    for _ in range(choice.randint(1, 4)):
        at = choice.randrange(len(new) + 1)
        match choice.randrange(4):
            case 0 if at < len(new):
                new[at] = choice.randrange(256)
            case 1:
                new[at:at] = choice.randbytes(choice.randint(1, 8))
            case 2:
                del new[at : at + choice.randint(1, 8)]
            case _ if at < len(new):
                new[at] ^= 1 << choice.randrange(8)
    return bytes(new)
