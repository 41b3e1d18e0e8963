# SPDX-License-Identifier: GPL-2.0-or-later
"""From a request to the message that answers it: the command is run, and whatever comes of it is an answer.

A bug in a command is that command's failure: the client is told in one line, the log has the traceback, and the machine
and its monitors go on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Any, Final

from asyncemu.monitor.command import Call, find
from asyncemu.monitor.control import Control, run
from asyncemu.monitor.errors import CommandNotFound, QmpError
from asyncemu.monitor.monitor import Monitor
from asyncemu.monitor.qmp.session import Request

logger: Final = logging.getLogger("asyncemu.monitor")

#: Characters of a bug's text that the client is shown. Arbitrary; the log has it all.
_MAX_SHOWN: Final = 200


async def run_in_band(control: Control, monitor: Monitor, request: Request) -> dict[str, Any]:
    """The answer to ``request``, in the machine's home."""
    if request.error is not None:
        return request.refusal(request.error)
    return await _answer(request, control.execute(request.name, request.arguments, monitor))


def run_at_once(control: Control, monitor: Monitor, request: Request) -> dict[str, Any]:
    """The same, now and in this thread, whichever it is: for commands that ``allow_oob``, or may run ``anywhere``."""
    answer = _answer(request, _run_here(control, monitor, request))
    try:
        answer.send(None)
    except StopIteration as stop:
        result: dict[str, Any] = stop.value
        return result
    answer.close()
    bug = RuntimeError("a command that may run in any thread waits")
    return request.refusal(internal_error(f"QMP command {request.name}", bug))


async def _run_here(control: Control, monitor: Monitor, request: Request) -> Any:
    command = find(request.name)
    if command is None:
        raise CommandNotFound(f"The command {request.name} has not been found")
    return await run(command, Call(control, monitor), request.arguments)


async def _answer(request: Request, result: Awaitable[Any]) -> dict[str, Any]:
    try:
        return request.reply(await result)
    except QmpError as error:
        return request.refusal(error)
    except Exception as error:
        return request.refusal(internal_error(f"QMP command {request.name}", error))


def internal_error(doing: str, error: Exception) -> QmpError:
    """What a client is told of a bug of ours, which is logged."""
    logger.error("%s", doing, exc_info=error)
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return QmpError(f"internal error: {text[:_MAX_SHOWN]}")
