# SPDX-License-Identifier: GPL-2.0-or-later
"""What ends a tool early, and errors of the block layer in the words of QEMU's tools.

Scripts look at these words. An error of ours is ``place: problem; remedy``; QEMU's is what was tried and why it failed:
``Could not open 'disk.img': No such file or directory``. The problem is QEMU's text wherever QEMU has one; the place
(a TOML path, which a command line has not) and the remedy are left out here.
"""

from __future__ import annotations

import os

from asyncemu.cli.tools.report import complain, report
from asyncemu.errors import AsyncemuError, ConfigError, HostError, ProtocolError


class ToolError(AsyncemuError):
    """The tool ends with ``status``, after a line ``PROGRAM: message`` for each of the messages."""

    def __init__(self, *messages: str, status: int = 1, hint: str = "", hint_end: str = "\n") -> None:
        super().__init__("\n".join(messages))
        self.messages = messages
        self.status = status
        #: A last line, without the program's name.
        self.hint = hint
        #: QEMU's line may be none.
        self.hint_end = hint_end


def fail(error: BaseException) -> int:
    """Tell the user; the exit status."""
    for line in error.messages if isinstance(error, ToolError) else (in_qemus_words(error),):
        report(line)
    hint = hint_of(error)
    if hint:
        complain(hint, error.hint_end if isinstance(error, ToolError) else "\n")
    return error.status if isinstance(error, ToolError) else 1


def in_qemus_words(error: BaseException) -> str:
    """What QEMU's tools say of ``error``, without the program's name."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case ToolError():
            return "\n".join(error.messages)
        case ConfigError():
            return _of_config_error(error)
        case HostError():
            return str(getattr(error, "problem", "")) or os.strerror(error.errno)
        case ProtocolError():
            return error.problem
        case OSError() if error.errno is not None:
            return os.strerror(error.errno)
        case _:
            return str(error)


def hint_of(error: BaseException) -> str:
    """QEMU's further line behind the message, or empty: a remedy that is a sentence is QEMU's, others are ours."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ToolError):
        return error.hint
    return error.remedy if isinstance(error, ConfigError) and error.remedy[:1].isupper() else ""


def errno_of(error: BaseException) -> int:
    """The errno behind ``error``, EIO when there is none."""
    import errno

    number = getattr(error, "errno", None)
    if isinstance(number, int) and number:
        return number
    inner = error.__cause__ or error.__context__
    return errno_of(inner) if inner is not None else errno.EIO


def _of_config_error(error: ConfigError) -> str:
    inner = error.__cause__ or error.__context__
    if isinstance(inner, ConfigError) and error.problem == inner.problem:
        # Raised again by the graph, with a longer place.
        return _of_config_error(inner)
    if isinstance(inner, (OSError, HostError)) and error.problem == str(inner):
        return in_qemus_words(inner)
    from asyncemu.block.naming.words import qemu_words

    return qemu_words(error)
