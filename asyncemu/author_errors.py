# SPDX-License-Identifier: GPL-2.0-or-later
"""Exceptions in code that is not ours: devices, drivers and back ends that users write.

Such an exception is the failure of that device and of nobody else. Whoever calls an author's method catches it there,
does what the failure means (the request fails with EIO, the link goes down, the device needs a reset), and reports it
here. What escapes from a callback of a loop gets here by the loop's exception handler (``install``).

The user sees one line, with the place in the author's file:

    clock0: on_write of alarm: ZeroDivisionError: division by zero, at /home/me/clock.py:53 in _arm

and the traceback only at the log level ``debug``. A guest may trigger the same failure as often as it likes: of one
place, the first is logged, the tenth, the hundredth and so on.

Whose exception is it? A traceback runs from the caller that catches down to where it was raised. Its outermost frame
that lies neither in asyncemu nor in Python's own library is where the author's code was entered; the deepest frame in
a file of the same folder is the line to show: that line called whatever library raised. With no such frame it is a bug
of ours, which is not reported here: it propagates, or is logged with its traceback.

Importable from everywhere; imports nothing of ours but ``errors``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    import asyncio
    from types import FrameType, TracebackType

_OURS: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep  # noqa: PTH100, PTH120  # pathlib is slow to import
_PYTHONS: Final = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120

#: Characters of an exception's text that are shown (arbitrary): some quote whole inputs.
MAX_TEXT: Final = 300

#: Different places that are counted before counting begins anew (arbitrary).
MAX_PLACES: Final = 1000


class Place(NamedTuple):
    """A line of an author's file."""

    file: str
    line: int
    function: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f" in {self.function}" if self.function else "")


class WrongResult(TypeError):
    """An author's method has returned what it must not: the place is the method's, as no frame of it is left."""

    def __init__(self, method: Callable[..., Any], value: object, expected: str) -> None:
        name = getattr(method, "__name__", str(method))
        super().__init__(f"{name} has returned {type(value).__name__}, not {expected}")
        while hasattr(method, "__wrapped__"):  # by a decorator
            method = method.__wrapped__
        code = getattr(method, "__code__", None)
        self.place = Place(code.co_filename, code.co_firstlineno, name) if code is not None else None


def place_of(error: BaseException) -> Place | None:
    """Where in an author's file it comes from; None: it is a bug of ours."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, WrongResult):
        return error.place if error.place is not None and _is_authors(error.place.file) else None
    if isinstance(error, SyntaxError) and error.filename and _is_authors(error.filename):
        return Place(error.filename, error.lineno or 0)
    folder = ""
    place = None
    for frame, line in _frames(error.__traceback__):
        file = frame.f_code.co_filename
        if not folder and _is_authors(file):
            folder = file.rpartition(os.sep)[0] + os.sep
        if folder and file.startswith(folder) and _is_authors(file):
            name = frame.f_code.co_name
            place = Place(file, line, name if name != "<module>" else "")
    return place


def describe(error: BaseException, place: Place) -> str:
    """``"ZeroDivisionError: division by zero, at clock.py:53 in _arm"``, in one line."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
    except Exception:
        # Its own __str__ is the author's, too.
        text = ""
    text = text.strip().partition("\n")[0][:MAX_TEXT]
    return f"{type(error).__name__}{f': {text}' if text else ''}, at {place}"


def raise_as_config_error(where: str, error: Exception) -> None:
    """``error`` came while the part at ``where`` in vm.toml was built. ConfigError, with the line of an author's code.

    Returns when it is a bug of ours. A ValueError of ours is no bug: it says what is wrong with a value.
    """
    place = place_of(error)
    if place is not None:
        raise ConfigError(where, describe(error, place)) from error
    if isinstance(error, ValueError):
        raise ConfigError(where, str(error)) from error


def report(where: str, error: BaseException) -> bool:
    """Log an author's failure; ``where`` names the device and what it did. False: it is a bug of ours. Any thread."""
    place = place_of(error)
    if place is None:
        return False
    times = _times.count((where, place, type(error)))
    if times:
        import logging

        logger = logging.getLogger("asyncemu.author")
        suffix = f" ({times} times by now)" if times > 1 else ""
        logger.error("%s: %s%s", where, describe(error, place), suffix)
        logger.debug("%s: the traceback", where, exc_info=error)
    return True


def report_or_raise(where: str, error: BaseException) -> None:
    """As ``report``; a bug of ours is raised again."""
    if not report(where, error):
        raise error


def install(loop: asyncio.AbstractEventLoop) -> None:
    """Let ``loop`` report an author's failures in its callbacks in one line, and ours with their tracebacks."""
    loop.set_exception_handler(_handle)


def install_if_free(loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
    """As ``install`` on a loop of somebody else's, who may have an exception handler of his own; what undoes it."""
    if loop.get_exception_handler() is not None:
        return lambda: None
    install(loop)

    def undo() -> None:
        if loop.get_exception_handler() is _handle:
            loop.set_exception_handler(None)

    return undo


def _handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    if not isinstance(error, Exception) or not report(str(context.get("message", "callback")), error):
        loop.default_exception_handler(context)


class _Times:
    """How often each failure has happened."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[object, int] = {}

    def count(self, key: object) -> int:
        """Once more: how often by now, or 0 when nobody need hear of it."""
        with self._lock:
            if key not in self._times and len(self._times) >= MAX_PLACES:
                self._times.clear()
            times = self._times[key] = self._times.get(key, 0) + 1
        return times if str(times).strip("0") == "1" else 0


_times = _Times()


def _is_authors(file: str) -> bool:
    if file.startswith((_OURS, "<")) or not file.endswith((".py", ".pyc")):
        return False
    return not file.startswith(_PYTHONS) or "site-packages" in file or "dist-packages" in file


def _frames(traceback: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next
