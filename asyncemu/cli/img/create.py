# SPDX-License-Identifier: GPL-2.0-or-later
"""``img create``: a new image, perhaps over a backing file."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from asyncemu.block.driver import BlockDriver
from asyncemu.block.filenames import backing_name_beside
from asyncemu.cli.img.creation import CreationOptions, print_option_help
from asyncemu.cli.img.new_image import check_can_create, create_image, format_class, protocol_class
from asyncemu.cli.img.options import HELP, OBJECT, Arguments
from asyncemu.cli.img.program import usage_error
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.opening import ImageArgument, close_image, open_image
from asyncemu.cli.tools.option_strings import has_help
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.cli.tools.sizes import size_argument

SHORT: Final = ":F:b:f:ho:qu"
LONG: Final = {**HELP, **OBJECT}


def command(argv: Sequence[str]) -> int:
    """Make it; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given: dict[str, str] = {}
    option_texts: list[str] = []
    for option, argument in arguments:
        if option == "o":
            option_texts.append(checked_options(argument))
        else:
            given[option] = argument
    rest = arguments.rest
    form = given.get("f", "raw")
    if any(has_help(text) for text in option_texts):
        print_creation_help(form, rest[0] if rest else None)
        return 0
    if not rest:
        raise usage_error("Expecting image file name")
    filename = rest[0]
    size = size_argument("image size", rest[1]) if len(rest) > 1 else None
    if len(rest) > 2:
        raise usage_error(f"Unexpected argument: {rest[2]}")

    async def main(session: ToolSession) -> int:
        try:
            await _create(session, form, filename, size, option_texts, given)
        except ToolError as error:
            first, *others = error.messages
            raise ToolError(f"{filename}: {first}", *others, hint=error.hint, hint_end=error.hint_end) from error
        return 0

    return run_tool(main, arguments.objects)


def checked_options(text: str) -> str:
    """The argument of ``-o``; several are one. ToolError."""
    if not text or text.startswith(",") or (text.endswith(",") and not text.endswith(",,")):
        raise ToolError(f"Invalid option list: {text}")
    return text


def print_creation_help(form: str, filename: str | None) -> None:
    """``-o help``, and the protocol's options where there is a file's name. ToolError."""
    driver = format_class(form)
    if driver.creation is None:
        raise ToolError(f"Format driver '{form}' does not support image creation")
    protocol = protocol_class(filename) if filename is not None else None
    if protocol is not None:
        check_can_create(driver, protocol)
    print_option_help(driver, protocol)


async def _create(
    session: ToolSession,
    form: str,
    filename: str,
    size: int | None,
    option_texts: Sequence[str],
    given: dict[str, str],
) -> None:
    driver, protocol = format_class(form), protocol_class(filename)
    check_can_create(driver, protocol)
    options = CreationOptions(driver, protocol)
    for text in option_texts:
        options.add(text)
    if size is not None:
        if "size" in options:
            raise ToolError("The image size must be specified only once")
        options.set_size(size)
    _set_backing(driver, options, given.get("b"), given.get("F"))
    await _look_at_backing(session, filename, options, open_it="u" not in given)
    if "size" not in options:
        raise ToolError("Image creation needs a size parameter")
    if "q" not in given:
        sys.stdout.write(f"Formatting '{filename}', fmt={form} {options.line()}\n")
        sys.stdout.flush()
    await create_image(session, driver, protocol, filename, options)


def _set_backing(
    driver: type[BlockDriver[Any]], options: CreationOptions, backing: str | None, backing_format: str | None
) -> None:
    if backing is not None:
        if not options.knows("backing_file"):
            raise ToolError(f"Backing file not supported for file format '{driver.name}'")
        options.set("backing_file", backing)
    if backing_format is not None:
        if not options.knows("backing_fmt"):
            raise ToolError(f"Backing format not supported for file format '{driver.name}'")
        options.set("backing_fmt", backing_format)


async def _look_at_backing(session: ToolSession, filename: str, options: CreationOptions, *, open_it: bool) -> None:
    """See that the backing file can be opened, and take its size where there is none."""
    backing, backing_format = options.text("backing_file"), options.text("backing_fmt")
    if backing is None:
        return
    if not backing:
        raise ToolError("Expected backing file name, got empty string")
    if backing == filename:
        raise ToolError("Error: Trying to create an image with the same filename as the backing file")
    if not open_it:
        if backing_format is None:
            raise ToolError("Backing file specified without backing format")
        return
    full = backing_name_beside(filename, backing)
    if full is None:
        raise ToolError(f"Cannot use relative backing file names for '{filename}'")
    try:
        image = await open_image(session, ImageArgument(full, backing_format, force_share=True))
    except ToolError as error:
        problem = error.messages[0].removeprefix(f"Could not open '{full}': ")
        raise ToolError(problem, hint=f"{error.hint}Could not open backing image.") from error
    form, size = image.node.driver.name, image.size
    await close_image(session, image)
    if backing_format is None:
        raise ToolError(
            "Backing file specified without backing format", hint=f"Detected format of {form}.", hint_end=""
        )
    if "size" not in options:
        options.set_size(size)
