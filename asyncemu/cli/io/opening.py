# SPDX-License-Identifier: GPL-2.0-or-later
"""From the options of a command line, or of ``open``, to an open image. QEMU: openfile."""

from __future__ import annotations

from typing import NamedTuple

from asyncemu.block.naming.qemu_opts import opts_of
from asyncemu.block.naming.tables import nested
from asyncemu.cli.tools.cache_modes import CACHE_MODES, CacheMode
from asyncemu.cli.tools.failure import ToolError, hint_of, in_qemus_words
from asyncemu.cli.tools.opening import Image, ImageArgument, close_image, open_image
from asyncemu.cli.tools.option_strings import BadOptions, split_options, warn_of_short_forms
from asyncemu.cli.tools.runner import ToolSession
from asyncemu.errors import AsyncemuError

#: Letters that the program and ``open`` have in common, with what they take.
LETTERS = "snCrki:t:d:U"


class OpenOptions:
    """What they have said so far."""

    def __init__(self) -> None:
        self.read_only = False
        self.snapshot = False
        self.copy_on_read = False
        self.force_share = False
        #: Unlike the other tools: what a script wants to see is on the disk, and holes are made.
        self.cache: CacheMode = CACHE_MODES["writethrough"]
        self.discard = "unmap"
        self.aio = ""
        #: Further options of the node; None: none were given.
        self.text: str | None = None

    def take(self, letter: str, argument: str) -> bool:
        """Take in one of LETTERS; False: it is another one. ToolError."""
        match letter:
            case "s":
                self.snapshot = True
            case "n":
                self.cache = CACHE_MODES["none"]
            case "C":
                self.copy_on_read = True
            case "r":
                self.read_only = True
            case "U":
                self.force_share = True
            case "k":
                self.aio = "native"
            case "i":
                self.aio = aio_mode(argument)
            case "t":
                self.cache = cache_mode(argument)
            case "d":
                self.discard = discard_mode(argument)
            case _:
                return False
        return True


def add_options(options: str | None, argument: str) -> str:
    """What ``-o`` has said before and the argument of another one. ToolError."""
    if any(key == "id" for key, _, _ in opts_of(argument)):
        raise ToolError("Invalid parameter 'id'")
    added = spelled_out(argument)
    return added if options is None else f"{options},{added}"


def spelled_out(text: str) -> str:
    """``text`` with a value for each key: unlike in the other tools a word alone names no node. BadOptions."""
    warn_of_short_forms(text)
    return ",".join(f"{opt.key}={opt.value.replace(',', ',,')}" for opt in opts_of(text))


def cache_mode(text: str) -> CacheMode:
    """ToolError: there is none of that name."""
    mode = CACHE_MODES.get(text)
    if mode is None:
        raise ToolError(f"Invalid cache option: {text}")
    return mode


class Target(NamedTuple):
    """Which image."""

    #: A file's name, or None: the options say all.
    name: str | None
    #: ``-f``.
    format: str | None = None


async def open_target(session: ToolSession, target: Target, options: OpenOptions) -> Image:
    """Open it. Raises ToolError with qemu-io's message."""
    try:
        return await _open(session, target, options)
    except BadOptions:
        raise
    except (AsyncemuError, OSError) as error:
        # The message of who opens images for all tools begins as qemu-img's does.
        cause = error.__cause__ if isinstance(error, ToolError) and error.__cause__ is not None else error
        what = f"can't open device {target.name}" if target.name is not None else "can't open"
        raise ToolError(f"{what}: {in_qemus_words(cause)}", hint=hint_of(cause)) from error


async def _open(session: ToolSession, target: Target, options: OpenOptions) -> Image:
    argument = _argument(target, options)
    if options.snapshot:
        from asyncemu.cli.tools.temporary_overlay import open_overlay

        image = await open_overlay(session, argument)
    else:
        image = await open_image(session, argument)
    if options.copy_on_read:
        if image.node.read_only:
            await close_image(session, image)
            raise ToolError("Can't use copy-on-read on read-only device")
        image.node.copy_on_read += 1
    return image


def _argument(target: Target, options: OpenOptions) -> ImageArgument:
    common = ImageArgument(
        target.name or "",
        target.format,
        cache=options.cache,
        writable=not options.read_only,
        force_share=options.force_share,
        aio=options.aio,
        options=(("discard", options.discard),),
    )
    if target.name is None:
        return common._replace(text=options.text or "", image_opts=True)
    if options.text is None:
        return common
    try:
        table = nested(split_options(options.text))
    except ValueError as error:
        raise ToolError(str(error)) from error
    driver = table.pop("driver", None)
    return common._replace(
        format=str(driver) if driver is not None else None, options=(*common.options, *table.items())
    )


def aio_mode(text: str) -> str:
    """ToolError: there is none of that name."""
    from asyncemu.cli.tools.node_modes import AIO_MODES

    if text not in AIO_MODES:
        raise ToolError(f"Invalid aio option: {text}")
    return text


def discard_mode(text: str) -> str:
    """The option ``discard`` of a node. ToolError."""
    from asyncemu.cli.tools.node_modes import DISCARD_MODES

    if text not in DISCARD_MODES:
        raise ToolError(f"Invalid discard option: {text}")
    return DISCARD_MODES[text]
