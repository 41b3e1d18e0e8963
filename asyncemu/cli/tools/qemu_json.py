# SPDX-License-Identifier: GPL-2.0-or-later
"""JSON over several lines as QEMU's tools print it, to the byte: scripts compare and grep it. See ``json_writer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asyncemu.block.naming.json_writer import in_qemus_order as in_order
from asyncemu.block.naming.json_writer import json_text

__all__ = ["in_order", "pretty"]


def pretty(value: object, indentation: int = 0) -> str:
    """Four spaces a level."""
    inner = " " * (indentation + 4)
    match value:
        case Mapping():
            rows = [f"{inner}{json_text(key)}: {pretty(each, indentation + 4)}" for key, each in in_order(value)]
            return _block("{", rows, "}", indentation)
        case Sequence() if not isinstance(value, str):
            return _block("[", [inner + pretty(each, indentation + 4) for each in value], "]", indentation)
        case _:
            return json_text(value)


def _block(opening: str, rows: list[str], closing: str, indentation: int) -> str:
    return opening + "\n" + ",\n".join(rows) + ("\n" if rows else "") + " " * indentation + closing
