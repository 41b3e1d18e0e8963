# SPDX-License-Identifier: GPL-2.0-or-later
"""``key=value,key=value`` as QEMU's tools take it; see block/naming/qemu_opts.py."""

from __future__ import annotations

from collections.abc import Iterator

from asyncemu.block.naming.qemu_opts import opts_of, parse_opts, value_at
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.report import complain, warn
from asyncemu.errors import ConfigError


def split_options(text: str, implied_key: str = "") -> list[tuple[str, str]]:
    """The pairs in order; keys may repeat. What is no ``key=value`` is a flag. An ``id`` is nobody's option."""
    return [(opt.key, opt.value) for opt in opts_of(text, implied_key) if opt.key != "id"]


class BadOptions(ToolError):
    """There is no use in them, whatever they are about."""


def warn_of_short_forms(text: str, implied_key: str = "") -> None:
    """Tell the user of each flag how to write it. BadOptions: an ``id`` is none. QEMU: qemu_opts_parse_noisily."""
    try:
        opts = parse_opts(text, implied_key)
    except ConfigError as error:
        raise BadOptions(error.problem) from error
    for key, value, is_short in opts:
        if is_short:
            warn(f"short-form boolean option '{'no' if value == 'off' else ''}{key}' deprecated")
            complain(f"Please use {key}={value} instead")


def has_help(text: str) -> bool:
    """Is ``help`` or ``?`` among the options? QEMU: has_help_option."""
    return any(part in ("help", "?") for part in _parts(text))


def _parts(text: str) -> Iterator[str]:
    position = 0
    while position < len(text):
        part, end = value_at(text, position)
        yield part
        position = end + 1
