# SPDX-License-Identifier: GPL-2.0-or-later
"""How keys, places and values are spelt: in vm.toml, on command lines and in messages about them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_BARE_KEY: Final = r"[A-Za-z0-9_-]{1,60}"

#: Characters of a value that a message shows.
MAX_SHOWN: Final = 60


def toml_name(field: str) -> str:
    """The key for a field of a class: ``read_only`` is ``read-only``, ``type_`` is ``type``."""
    return field.rstrip("_").replace("_", "-")


def toml_path(where: str, *parts: int | str) -> str:
    """``where`` continued: ``device[0]`` and ``"ports"``, ``1`` make ``device[0].ports[1]``."""
    for part in parts:
        if isinstance(part, int):
            where += f"[{part}]"
        else:
            # What can't be a bare key in TOML is quoted, so that a path is one line and unambiguous.
            key = part if re.fullmatch(_BARE_KEY, part) else repr(part[:MAX_SHOWN])
            where += f".{key}" if where else key
    return where


def shown(value: object) -> str:
    """``value`` for a message: short, whatever it is."""
    match value:
        case bool():
            return str(value).lower()
        case dict():
            return "a table"
        case list():
            return "a list"
        case str() if len(value) > MAX_SHOWN:
            return f"{value[:MAX_SHOWN]!r}..."
        case int() if abs(value) >= 10**MAX_SHOWN:
            return "a number with very many digits"  # repr() refuses beyond 4300 of them
        case _:
            return repr(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for a misspelt name: the closest known one, else the list of all."""
    # Imported when it is needed: names are right most of the time.
    import difflib

    known = list(known)
    # The length is bounded, as difflib's work grows with its square.
    close = difflib.get_close_matches(name[:60], known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known: " + ", ".join(known) if known else ""
