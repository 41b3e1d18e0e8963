# SPDX-License-Identifier: GPL-2.0-or-later
"""Ethernet addresses of a machine's devices: as text, and which ones are taken."""

from __future__ import annotations

import re
from typing import Final

#: QEMU's: 52:54:00 is locally administered and unicast; the first device's last byte is 0x56.
FIRST: Final = bytes.fromhex("525400123456")

_TEXT: Final = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")


def parse_mac(text: str) -> bytes:
    """``"52:54:00:12:34:56"`` as 6 bytes. ValueError when it is no address, or one of many."""
    if not _TEXT.fullmatch(text):
        raise ValueError(f"{text[:60]!r} is not an Ethernet address; write it as 52:54:00:12:34:56")
    address = bytes.fromhex(text.replace(text[2], ""))
    if address[0] & 1:
        raise ValueError(f"{text} is a multicast address (odd 1st byte), which a device can't have")
    return address


def format_mac(address: bytes) -> str:
    """6 bytes as ``"52:54:00:12:34:56"``."""
    return address.hex(":")


class MacAddresses:
    """The addresses of a machine's devices. One thread at a time: while the machine is built."""

    def __init__(self) -> None:
        self._taken: set[bytes] = set()

    def choose(self, wanted: bytes | None = None) -> bytes:
        """``wanted``, which several may have, or the first that is free. ValueError when none is."""
        if wanted is None:
            free = (FIRST[:5] + bytes((last,)) for last in range(FIRST[5], 0x100))
            wanted = next((address for address in free if address not in self._taken), None)
            if wanted is None:
                raise ValueError("all default Ethernet addresses are taken; set mac")
        self._taken.add(wanted)
        return wanted

    def give_back(self, address: bytes) -> None:
        """The device that has it goes away."""
        self._taken.discard(address)
