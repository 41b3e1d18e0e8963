# SPDX-License-Identifier: GPL-2.0-or-later
"""``img bitmap``: persistent dirty bitmaps. They are left alone, and the command says that it can't change them."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final

from asyncemu.cli.img.options import HELP, IMAGE_OPTS, OBJECT, Arguments
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, REQUIRED_ARGUMENT
from asyncemu.cli.tools.opening import ImageArgument, open_image
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.cli.tools.sizes import size_argument

SHORT: Final = ":b:f:F:g:h"
_ACTIONS: Final = ("add", "remove", "clear", "enable", "disable")
LONG: Final = {
    **HELP,
    **OBJECT,
    **IMAGE_OPTS,
    **{action: (NO_ARGUMENT, action) for action in _ACTIONS},
    "merge": (REQUIRED_ARGUMENT, "merge"),
    "granularity": (REQUIRED_ARGUMENT, "g"),
}


def command(argv: Sequence[str]) -> int:
    """Refuse; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given: dict[str, str] = {}
    actions: list[str] = []
    for option, argument in arguments:
        if option == "g":
            size_argument("granularity", argument, 1)
        elif option in _ACTIONS or option == "merge":
            actions.append(option)
        given[option] = argument
    if not actions:
        raise ToolError("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
    if "g" in given and "add" not in actions:
        raise ToolError("granularity only supported with --add")
    if "F" in given and "b" not in given:
        raise ToolError("-F only supported with -b")
    if "b" in given and "merge" not in actions:
        raise ToolError("Merge bitmap source file only supported with --merge")
    names = arguments.rest
    if len(names) != 2:
        raise ToolError("Expecting filename and bitmap name")
    filename, bitmap = names
    image_argument = ImageArgument(filename, given.get("f"), image_opts="image-opts" in given, writable=True)

    async def main(session: ToolSession) -> int:
        image = await open_image(session, image_argument)
        reason = os.strerror(errno.ENOTSUP)
        what = f"Can't change persistent bitmaps of {image.node.driver.name} images"
        raise ToolError(f"Operation {actions[0]} on bitmap {bitmap} failed: {what}: {reason}")

    return run_tool(main, arguments.objects)
