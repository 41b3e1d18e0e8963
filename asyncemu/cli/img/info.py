# SPDX-License-Identifier: GPL-2.0-or-later
"""``img info``: what an image is, and the images behind it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, Final

from asyncemu.block.image_info import image_info
from asyncemu.block.open_mode import OpenMode
from asyncemu.cli.img.options import (
    FORCE_SHARE,
    FORMAT,
    HELP,
    IMAGE_OPTS,
    OBJECT,
    OUTPUT,
    Arguments,
    output_is_json,
)
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT
from asyncemu.cli.tools.opening import ImageArgument, close_image, open_image
from asyncemu.cli.tools.runner import ToolSession, run_tool

SHORT: Final = ":hf:U"
LONG: Final = {
    **HELP,
    **FORMAT,
    **OUTPUT,
    **OBJECT,
    **IMAGE_OPTS,
    **FORCE_SHARE,
    "backing-chain": (NO_ARGUMENT, "backing-chain"),
}

#: Metadata of this image only.
_MODE: Final = OpenMode(open_backing=False, no_io=True)


def command(argv: Sequence[str]) -> int:
    """Print it; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given = dict(arguments)
    argument = ImageArgument(
        arguments.one_image(),
        given.get("f"),
        image_opts="image-opts" in given,
        force_share="U" in given,
        mode=_MODE,
    )
    as_json = output_is_json(given.get("output", "human"))
    chain = "backing-chain" in given

    async def main(session: ToolSession) -> int:
        infos = await _collect(session, argument, chain)
        if as_json:
            from asyncemu.cli.tools.qemu_json import pretty

            sys.stdout.write(pretty(infos if chain else infos[0]) + "\n")
        else:
            from asyncemu.block.image_text import image_text

            sys.stdout.write("\n".join(image_text(info) for info in infos))
        return 0

    return run_tool(main, arguments.objects)


async def _collect(session: ToolSession, argument: ImageArgument, chain: bool) -> list[dict[str, Any]]:
    """QMP's ImageInfo of the image, or of it and all behind it."""
    infos: list[dict[str, Any]] = []
    seen: set[str] = set()
    while True:
        if argument.text in seen:
            raise ToolError(f"Backing file '{argument.text}' creates an infinite loop.")
        seen.add(argument.text)
        image = await open_image(session, argument)
        info = await image_info(image.node, image.filename, image.size)
        await close_image(session, image)
        infos.append(info)
        backing = info.get("full-backing-filename", info.get("backing-filename"))
        if not chain or backing is None:
            return infos
        argument = ImageArgument(
            backing, info.get("backing-filename-format"), force_share=argument.force_share, mode=_MODE
        )
