# SPDX-License-Identifier: GPL-2.0-or-later
"""``key=value,key=value`` as QEMU's tools take it; see block/naming/qemu_opts.py."""

from __future__ import annotations

from collections.abc import Iterator

from asyncemu.block.naming.qemu_opts import parse_opts, value_at
from asyncemu.block.naming.tables import nested

__all__ = ["has_help", "nested", "split_options"]


def split_options(text: str, implied_key: str = "") -> list[tuple[str, str]]:
    """The pairs in order; keys may repeat. What is no ``key=value`` is a flag. ConfigError: an ``id`` that is none."""
    return [(opt.key, opt.value) for opt in parse_opts(text, implied_key)]


def has_help(text: str) -> bool:
    """Is ``help`` or ``?`` among the options? QEMU: has_help_option."""
    return any(part in ("help", "?") for part in _parts(text))


def _parts(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        part, end = value_at(text, position)
        yield part
        position = end + 1
