# SPDX-License-Identifier: GPL-2.0-or-later
"""``key=value,key=value`` as --image-opts takes it: ``,,`` is a comma in a value. QEMU: QemuOpts.

A key without ``=value`` is ``on``, ``nokey`` without one is ``off``; the first may be the value of an implied key.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from asyncemu.errors import ConfigError


class Opt(NamedTuple):
    """One of them."""

    key: str
    value: str
    #: Written without a value, which QEMU warns of: "short-form boolean option 'key' deprecated".
    short_form: bool = False


def parse_opts(text: str, implied_key: str = "") -> list[Opt]:
    """All of them in order; keys may repeat. Raises ConfigError for an ``id`` that is none; nothing else is wrong."""
    opts = list(opts_of(text, implied_key))
    for opt in opts:
        if opt.key == "id" and not is_identifier(opt.value):
            raise ConfigError("id", IDENTIFIER_EXPECTED)
    return opts


IDENTIFIER_EXPECTED = (
    "Parameter 'id' expects an identifier\n"
    "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."
)


def is_identifier(text: str) -> bool:
    """May an object be called ``text``?"""
    return re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]*", text) is not None


def opts_of(text: str, implied_key: str = "") -> Iterator[Opt]:
    """As parse_opts, where nothing at all is wrong."""
    position, first = 0, True
    while position < len(text):
        equals, comma = text.find("=", position), text.find(",", position)
        if equals >= 0 and (comma < 0 or equals < comma):
            value, end = value_at(text, equals + 1)
            yield Opt(text[position:equals], value)
        elif first and implied_key:
            value, end = value_at(text, position)
            yield Opt(implied_key, value)
        else:
            end = comma if comma >= 0 else len(text)
            key = text[position:end]
            yield Opt(key[2:], "off", True) if key.startswith("no") else Opt(key, "on", True)
        position, first = end + 1, False


def value_at(text: str, position: int) -> tuple[str, int]:
    """The value that begins at ``position``, and where the comma or the text's end behind it is."""
    parts: list[str] = []
    while True:
        comma = text.find(",", position)
        if comma < 0:
            return "".join([*parts, text[position:]]), len(text)
        if not text.startswith(",", comma + 1):
            return "".join([*parts, text[position:comma]]), comma
        parts.append(text[position : comma + 1])
        position = comma + 2
