# SPDX-License-Identifier: GPL-2.0-or-later
"""``img amend``: change options that an image was created with."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from asyncemu.block.driver import BlockDriver
from asyncemu.cli.img.create import checked_options
from asyncemu.cli.img.creation import CreationOptions, option_lines
from asyncemu.cli.img.new_image import format_class
from asyncemu.cli.img.options import HELP, IMAGE_OPTS, OBJECT, Arguments, cache_mode
from asyncemu.cli.img.program import usage_error
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT
from asyncemu.cli.tools.opening import ImageArgument, open_image
from asyncemu.cli.tools.option_strings import has_help, split_options
from asyncemu.cli.tools.progress import ProgressLine
from asyncemu.cli.tools.runner import ToolSession, run_tool

SHORT: Final = ":ho:f:t:pq"
LONG: Final = {**HELP, **OBJECT, **IMAGE_OPTS, "force": (NO_ARGUMENT, "force")}

#: What a format's creation options have that can't be changed later. QEMU: qcow2_amend_opts.
_FOR_CREATION: Final = frozenset(
    {
        "cluster_size",
        "compression_type",
        "encrypt.cipher-alg",
        "encrypt.cipher-mode",
        "encrypt.format",
        "encrypt.hash-alg",
        "encrypt.ivgen-alg",
        "encrypt.ivgen-hash-alg",
        "encrypt.key-secret",
        "encryption",
        "extended_l2",
        "preallocation",
    }
)


#: What changes the keys of an encrypted image, as the help shows it.
_OF_KEYS: Final = {
    "encrypt.keyslot": "  encrypt.keyslot=<num>  - Select a single keyslot to modify explicitly",
    "encrypt.new-secret": "  encrypt.new-secret=<str> - New secret to set in the matching keyslots. "
    "Empty string to erase",
    "encrypt.old-secret": "  encrypt.old-secret=<str> - Select all keyslots that match this password",
    "encrypt.state": "  encrypt.state=<str>    - Select new state of affected keyslots (active/inactive)",
}


def command(argv: Sequence[str]) -> int:
    """Do it; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given: dict[str, str] = {}
    texts: list[str] = []
    for option, argument in arguments:
        if option == "o":
            texts.append(checked_options(argument))
        given[option] = argument
    if not texts:
        raise usage_error("Must specify options (-o)")
    names = arguments.rest
    form = given.get("f")
    if form is not None and any(has_help(text) for text in texts):
        print_amend_help(format_class(form))
        return 0
    if len(names) != 1:
        raise ToolError("Expecting one image file name")
    image_argument = ImageArgument(
        names[0],
        form,
        image_opts="image-opts" in given,
        cache=cache_mode(given.get("t", "writeback")),
        writable=True,
        resizable=True,
    )

    async def main(session: ToolSession) -> int:
        with ProgressLine("p" in given and "q" not in given) as progress:
            progress.report(0)
            image = await open_image(session, image_argument)
            driver = image.node.driver
            if any(has_help(text) for text in texts):
                print_amend_help(type(driver))
                return 0
            options = _checked(type(driver), texts)
            await driver.amend(options, progress.of, "force" in given)
            progress.report(1)
        return 0

    return run_tool(main, arguments.objects)


def _checked(driver: type[BlockDriver[Any]], texts: Sequence[str]) -> dict[str, str]:
    """What is to change. ToolError: it can't be changed, or makes no sense."""
    _check_supported(driver)
    options = CreationOptions(driver, None)
    found: dict[str, str] = {}
    for name, value in (pair for text in texts for pair in split_options(text)):
        if name in _FOR_CREATION and options.knows(name):
            hint = "This option is only supported for image creation"
            raise ToolError(f"Invalid parameter '{name}'", hint=hint)
        if name not in _OF_KEYS:  # which the driver has words for
            options.set(name, value)
        found[name] = value
    return found


def _check_supported(driver: type[BlockDriver[Any]]) -> None:
    if not driver.defines("amend"):
        raise ToolError(f"Format driver '{driver.name}' does not support option amendment")


def print_amend_help(driver: type[BlockDriver[Any]]) -> None:
    """What ``-o help`` prints. ToolError."""
    _check_supported(driver)
    lines = option_lines(driver, None, without=_FOR_CREATION)
    if driver.name == "qcow2":
        lines = sorted([*lines, *_OF_KEYS.values()])
    sys.stdout.write("\n".join([f"Amend options for '{driver.name}':", *lines]) + "\n")
