# SPDX-License-Identifier: GPL-2.0-or-later
"""``img resize``: another size for an image."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final, cast

from asyncemu.block.types import Preallocation
from asyncemu.cli.img.creation import parse_size_option
from asyncemu.cli.img.options import HELP, IMAGE_OPTS, OBJECT, Arguments
from asyncemu.cli.img.program import usage_error
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, REQUIRED_ARGUMENT
from asyncemu.cli.tools.opening import ImageArgument, open_image
from asyncemu.cli.tools.report import report, warn
from asyncemu.cli.tools.runner import ToolSession, run_tool

SHORT: Final = ":f:hq"
LONG: Final = {
    **HELP,
    **OBJECT,
    **IMAGE_OPTS,
    "preallocation": (REQUIRED_ARGUMENT, "preallocation"),
    "shrink": (NO_ARGUMENT, "shrink"),
}

_MODES: Final = ("off", "metadata", "falloc", "full")


def command(argv: Sequence[str]) -> int:
    """Do it; the exit status."""
    if len(argv) < 2:
        raise usage_error("Not enough arguments")
    # Taken away first: "-1M" is no option.
    *argv, size_text = argv
    if len(argv) < 2:
        _only_help(size_text)
    arguments = Arguments(argv, SHORT, LONG)
    given: dict[str, str] = {}
    for option, argument in arguments:
        if option == "preallocation" and argument not in _MODES:
            raise ToolError(f"Invalid preallocation mode '{argument}'")
        given[option] = argument
    names = arguments.rest
    if len(names) != 1:
        raise usage_error("Expecting image file name and size")
    preallocation = cast(Preallocation, given.get("preallocation", "off"))
    direction = {"+": 1, "-": -1}.get(size_text[:1], 0)
    amount = parse_size_option("size", size_text[1:] if direction else size_text)
    image_argument = ImageArgument(
        names[0], given.get("f"), image_opts="image-opts" in given, writable=True, resizable=True
    )

    async def main(session: ToolSession) -> int:
        image = await open_image(session, image_argument)
        size = image.size + direction * amount if direction else amount
        if not _is_allowed(size, image.size, preallocation, shrink="shrink" in given):
            return 1
        await image.backend.truncate(size, exact=True, preallocation=preallocation)
        if "q" not in given:
            sys.stdout.write("Image resized.\n")
        return 0

    return run_tool(main, arguments.objects)


def _only_help(word: str) -> None:
    """One argument is not enough, unless it asks for help."""
    if word in ("-h", "--help"):
        from asyncemu.cli.img.help import print_help

        print_help()
        raise ToolError(status=0)
    raise usage_error("Not enough arguments")


def _is_allowed(size: int, before: int, preallocation: str, *, shrink: bool) -> bool:
    """Tells the user when it is not."""
    # Numbers are 64 bits wide, and signed.
    if not 0 < size < 1 << 63:
        report("New image size must be positive")
    elif size <= before and preallocation != "off":
        report("Preallocation can only be used for growing images")
    elif size < before and not shrink:
        report("Use the --shrink option to perform a shrink operation.")
        warn(
            "Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an "
            "operation, make sure there is no important data there."
        )
    else:
        return True
    return False
