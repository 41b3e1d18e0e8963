# SPDX-License-Identifier: GPL-2.0-or-later
"""``img dd``: copy blocks of one image into a new one, with the operands of dd(1)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from asyncemu.cli.img.creation import CreationOptions
from asyncemu.cli.img.new_image import check_can_create, create_image, format_class, protocol_class
from asyncemu.cli.img.options import FORCE_SHARE, HELP, IMAGE_OPTS, OBJECT, Arguments
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image
from asyncemu.cli.tools.report import report
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.cli.tools.sizes import INT64_MAX, size_argument
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers

SHORT: Final = ":hf:O:U"
LONG: Final = {**HELP, **OBJECT, **IMAGE_OPTS, **FORCE_SHARE}

_INT_MAX: Final = (1 << 31) - 1


class Operands(NamedTuple):
    """Those of dd(1) that are known."""

    input: str
    output: str
    #: Bytes.
    block_size: int = 512
    #: Blocks; None: all.
    blocks: int | None = None
    skip: int = 0


def command(argv: Sequence[str]) -> int:
    """Copy; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given = dict(arguments)
    operands = _operands(arguments.rest)
    source_argument = ImageArgument(
        operands.input, given.get("f"), image_opts="image-opts" in given, force_share="U" in given
    )

    async def main(session: ToolSession) -> int:
        source = await open_image(session, source_argument)
        await _copy(session, source, operands, given.get("O", "raw"))
        return 0

    return run_tool(main, arguments.objects, copies=True)


def _operands(words: Sequence[str]) -> Operands:
    """The last of each counts. ToolError."""
    texts: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in ("bs", "count", "if", "of", "skip"):
            raise ToolError(f"unrecognized operand {word if not equals else name}")
        if name == "bs":
            size_argument("bs", value, 1, _INT_MAX)
        elif name in ("count", "skip"):
            size_argument(name, value)
        texts[name] = value
    if "if" not in texts or "of" not in texts:
        raise ToolError("Must specify both input and output files")
    return Operands(
        texts["if"],
        texts["of"],
        size_argument("bs", texts.get("bs", "512")),
        size_argument("count", texts["count"]) if "count" in texts else None,
        size_argument("skip", texts.get("skip", "0")),
    )


async def _copy(session: ToolSession, source: Image, operands: Operands, form: str) -> None:
    driver = format_class(form, "Unknown file format")
    protocol = protocol_class(operands.output)
    check_can_create(driver, protocol)
    size = source.size
    if operands.blocks is not None and operands.blocks * operands.block_size <= min(INT64_MAX, size):
        size = operands.blocks * operands.block_size
    start = operands.skip * operands.block_size
    options = CreationOptions(driver, protocol)
    options.set_size(max(size - start, 0))
    try:
        await create_image(session, driver, protocol, operands.output, options)
    except ToolError as error:
        problem = f"{operands.output}: error while creating output image: {error}"
        raise ToolError(problem, hint=error.hint) from error
    target = await open_image(session, ImageArgument(operands.output, form, writable=True))
    if start > size:
        # As dd(1): not an error, and the output is empty.
        report(f"{operands.input}: cannot skip to specified offset")
    buffer = memoryview(bytearray(operands.block_size))
    for offset in range(start, size, operands.block_size):
        view = buffer[: min(size - offset, operands.block_size)]
        try:
            await source.read(offset, view)
        except BlockError as error:
            raise ToolError(f"error while reading from input image file: {os.strerror(error.errno)}") from error
        try:
            await target.backend.pwritev(offset - start, Buffers((view,)))
        except BlockError as error:
            raise ToolError(f"error while writing to output image file: {os.strerror(error.errno)}") from error
