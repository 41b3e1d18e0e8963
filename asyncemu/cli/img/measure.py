# SPDX-License-Identifier: GPL-2.0-or-later
"""``img measure``: how many bytes a new image would need."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from asyncemu.block.driver import BlockDriver
from asyncemu.cli.img.creation import CreationOptions
from asyncemu.cli.img.new_image import format_class
from asyncemu.cli.img.options import FORCE_SHARE, IMAGE_OPTS, OUTPUT, output_is_json
from asyncemu.cli.img.snapshots import load_snapshot
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, REQUIRED_ARGUMENT, BadOption, OptionScanner
from asyncemu.cli.tools.objects import UserObjects
from asyncemu.cli.tools.opening import ImageArgument, driver_class, open_image
from asyncemu.cli.tools.report import complain, report
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.cli.tools.sizes import size_argument

SHORT: Final = "hf:l:o:O:U"
LONG: Final = {
    "help": (NO_ARGUMENT, "h"),
    "object": (REQUIRED_ARGUMENT, "object"),
    **IMAGE_OPTS,
    **FORCE_SHARE,
    **OUTPUT,
    "size": (REQUIRED_ARGUMENT, "size"),
}


def command(argv: Sequence[str]) -> int:
    """Print it; the exit status."""
    scanner = OptionScanner(argv[1:], SHORT, LONG)
    objects = UserObjects()
    given: dict[str, str] = {}
    option_texts: list[str] = []
    size = None
    try:
        for option, argument in scanner:
            if option == "h":
                return _help()
            if option == "object":
                objects.add(argument)
            elif option == "o":
                option_texts.append(argument)
            elif option == "size":
                size = size_argument("image size", argument)
            given[option] = argument
    except BadOption as error:
        # Unlike its sisters, this command lets the C library say it, and then helps.
        complain(f"measure: {error}")
        return _help()
    as_json = output_is_json(given.get("output", "human"))
    names = scanner.rest
    if len(names) > 1:
        raise ToolError("At most one filename argument is allowed.")
    filename = names[0] if names else None
    if filename is None and any(option in given for option in ("image-opts", "f", "l")):
        raise ToolError("--image-opts, -f, and -l require a filename argument.")
    if filename is None and size is None:
        raise ToolError("Either --size N or one filename must be specified.")
    if filename is not None and size is not None:
        raise ToolError("--size N cannot be used together with a filename.")

    async def main(session: ToolSession) -> int:
        source = None
        if filename is not None:
            image_argument = ImageArgument(
                filename, given.get("f"), image_opts="image-opts" in given, force_share="U" in given
            )
            source = await open_image(session, image_argument)
            if "l" in given:
                await load_snapshot(source, given["l"])
        driver = format_class(given.get("O", "raw"))
        options = _creation_options(driver, option_texts)
        if size is not None:
            options.set_size(size)
        if not driver.defines("measure"):
            raise ToolError(f"Block driver '{driver.name}' does not support size measurement")
        found = await driver.measure(options.for_format(), source.backend if source is not None else None)
        table = {"required": found.required, "fully-allocated": found.fully_allocated}
        if found.bitmaps is not None:
            table["bitmaps"] = found.bitmaps
        _show(table, as_json)
        return 0

    return run_tool(main, objects)


def _show(table: dict[str, int], as_json: bool) -> None:
    if as_json:
        from asyncemu.cli.tools.qemu_json import pretty

        sys.stdout.write(pretty(table) + "\n")
        return
    names = {"required": "required size", "fully-allocated": "fully allocated size", "bitmaps": "bitmaps size"}
    sys.stdout.write("".join(f"{names[key]}: {value}\n" for key, value in table.items()))


def _creation_options(driver: type[BlockDriver[Any]], texts: Sequence[str]) -> CreationOptions:
    if driver.creation is None:
        raise ToolError(f"Format driver '{driver.name}' does not support image creation")
    options = CreationOptions(driver, driver_class("file"))
    try:
        for text in texts:
            options.add(text)
    except ToolError as error:
        report(str(error))
        if error.hint:
            complain(error.hint)
        raise ToolError(f"Invalid options for file format '{driver.name}'") from error
    options.drop("size")
    return options


def _help() -> int:
    from asyncemu.cli.img.help import print_help

    print_help()
    return 0
