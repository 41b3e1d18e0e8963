# SPDX-License-Identifier: GPL-2.0-or-later
"""Which of the things that nbd does: list what a server offers, or offer an image, perhaps in the background."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from asyncemu.cli.nbd.command_line import Stop, check, check_tls, parse
from asyncemu.cli.tools.failure import ToolError, fail
from asyncemu.cli.tools.report import name_program
from asyncemu.cli.tools.startup import ready_output

if TYPE_CHECKING:
    from asyncemu.cli.nbd.settings import Settings


def run(argv: list[str]) -> int:
    """Do what ``argv`` says; the exit status."""
    name_program(argv[0], "asyncemu-nbd")
    ready_output()
    try:
        return _run(argv[1:])
    except Stop:
        return 0
    except ToolError as error:
        return fail(error)


def _run(words: list[str]) -> int:
    settings = parse(words)
    if settings.help or settings.version:
        from asyncemu.cli.nbd.usage import usage, version

        print(usage() if settings.help else version(), end="")
        return 0
    check(settings)
    from asyncemu.cli.nbd.daemon import activated_sockets, check_activation, go_to_background

    activated = activated_sockets()
    if activated:
        check_activation(settings, activated)
    credentials = None
    if settings.tls_credentials is not None:
        from asyncemu.cli.nbd.tls import find_credentials

        check_tls(settings)
        credentials = find_credentials(settings)
    else:
        check_tls(settings)
    if settings.list:
        from asyncemu.cli.nbd.listing import list_exports

        return list_exports(settings, credentials)
    if settings.device is not None or settings.disconnect:
        _refuse_kernel(settings)
    if settings.fork:
        status = go_to_background()
        if status is not None:
            return status
    from asyncemu.cli.nbd.serving import serve

    sys.stdout.flush()
    return serve(settings, credentials, activated)


def _refuse_kernel(settings: Settings) -> NoReturn:
    """The kernel's NBD client is not driven: say so, or what is wrong with the device in any case."""
    path = settings.rest[0] if settings.device is None else settings.device
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        could_not = "Cannot open" if settings.device is None else "Failed to open"
        raise ToolError(f"{could_not} {path}: {os.strerror(error.errno or 0)}") from error
    raise ToolError(
        "the kernel's NBD client is not supported; "
        + ("disconnect it with nbd-client -d" if settings.device is None else "use -k, and connect nbd-client to it")
    )
