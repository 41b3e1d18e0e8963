# SPDX-License-Identifier: GPL-2.0-or-later
"""Domain names as bytes: RFC 1035, 3.1 and 4.1.4. DNS, DHCP's search lists and router advertisements have them.

As text a name has no dot at its end; bytes of a label that are no plain text are written as in master files: ``\\046``
for a dot within a label (RFC 1035, 5.1).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from asyncemu.net.packets.errors import Malformed

#: Bytes: RFC 1035, 2.3.4. The name's with the lengths of its labels.
MAX_LABEL: Final = 63
MAX_NAME: Final = 255

#: RFC 1035, 4.1.4: the two highest bits of a length make it a pointer.
_POINTER: Final = 0xC0

#: No name has more labels than that, so none needs more.
_MAX_POINTERS: Final = 127

_SPECIAL: Final = re.compile(rb"[^!-\[\]-~]|\.")
_ESCAPED: Final = re.compile(rb"\\(\d\d\d)")
_LABEL: Final = re.compile(rb"(?:[^.\\]|\\\d\d\d)+")


def parse(data: bytes, start: int, compressed: bool = True) -> tuple[str, int]:
    """The name at ``start``, and where what follows it begins. Raises Malformed.

    A pointer must lead to before the part of the name that it ends: so there is no loop.
    """
    labels: list[bytes] = []
    following = -1
    limit = position = start
    length = 1
    pointers = 0
    while True:
        if position >= len(data):
            raise Malformed("domain name is cut")
        size = data[position]
        if not size:
            break
        if size & _POINTER == _POINTER and compressed:
            if position + 2 > len(data):
                raise Malformed("domain name is cut")
            target = (size & ~_POINTER) << 8 | data[position + 1]
            if following < 0:
                following = position + 2
            pointers += 1
            if target >= limit or pointers > _MAX_POINTERS:
                raise Malformed("domain name points forward, or too often")
            limit = position = target
            continue
        if size > MAX_LABEL:
            raise Malformed("label of a domain name is too long")
        length += 1 + size
        if length > MAX_NAME:
            raise Malformed("domain name is too long")
        if position + 1 + size > len(data):
            raise Malformed("domain name is cut")
        labels.append(data[position + 1 : position + 1 + size])
        position += 1 + size
    return b".".join(map(_escape, labels)).decode("ascii"), position + 1 if following < 0 else following


def pack(name: str) -> bytes:
    """``name`` as bytes, without compression; an ending dot is as none. ValueError: it can't be one."""
    text = name.removesuffix(".").encode("ascii")
    if not text:
        return b"\0"
    labels = text.split(b".")
    packed = bytearray()
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ValueError(f"{name!r} is not a domain name")
        try:
            plain = _ESCAPED.sub(lambda match: bytes((int(match[1]),)), label)
        except ValueError:
            raise ValueError(f"{name!r} is not a domain name") from None
        if len(plain) > MAX_LABEL:
            raise ValueError(f"{name!r} has a label of more than {MAX_LABEL} bytes")
        packed += bytes((len(plain),)) + plain
    if len(packed) >= MAX_NAME:
        raise ValueError(f"{name!r} has more than {MAX_NAME} bytes")
    return bytes(packed) + b"\0"


def pack_search_list(domains: Sequence[str]) -> bytes:
    """Names one behind the other, of which each ends with a pointer to where its rest stands already: RFC 3397, 2."""
    packed = bytearray()
    known: dict[bytes, int] = {}
    for domain in domains:
        rest = pack(domain)
        while len(rest) > 1:
            place = known.get(rest)
            if place is not None:
                packed += (_POINTER << 8 | place).to_bytes(2, "big")
                break
            if len(packed) < 1 << 14:
                known[rest] = len(packed)
            size = 1 + rest[0]
            packed += rest[:size]
            rest = rest[size:]
        else:
            packed += b"\0"
    return bytes(packed)


def _escape(label: bytes) -> bytes:
    if label.isalnum():
        return label
    return _SPECIAL.sub(lambda match: b"\\%03d" % ord(match[0]), label)
