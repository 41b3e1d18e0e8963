# SPDX-License-Identifier: GPL-2.0-or-later
"""Where in the code something was done, for messages about things that were done twice."""

from __future__ import annotations

import sys
from types import CodeType, FrameType
from typing import Final

from asyncemu.loop import markers

#: Code, line: what a place is kept as. Text is made of it only when it is to be shown.
Place = tuple[CodeType, int]


#: The frames of its assertions stand between a caller and a method.
_MARKERS: Final = markers.__file__


def caller(levels: int = 1) -> Place:
    """Who called the function that calls this, or so many levels above. Costs a tenth of a microsecond."""
    return place_of(sys._getframe(levels + 1))


def place_of(frame: FrameType) -> Place:
    """Where ``frame`` is, or who called it when it is an assertion of a marker."""
    while frame.f_code.co_filename == _MARKERS and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code, frame.f_lineno


def describe(place: Place) -> str:
    """``function (file.py:12)``."""
    code, line = place
    return f"{code.co_qualname} ({code.co_filename.rpartition('/')[2]}:{line})"
