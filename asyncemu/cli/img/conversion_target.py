# SPDX-License-Identifier: GPL-2.0-or-later
"""The image that ``img convert`` writes to: made, opened, and looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncemu.block.driver import BlockDriver
from asyncemu.cli.img.convert_options import ConvertOptions
from asyncemu.cli.img.creation import CreationOptions
from asyncemu.cli.img.new_image import check_can_create, create_image, format_class, protocol_class
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image
from asyncemu.cli.tools.runner import ToolSession


class Target(NamedTuple):
    """An image to be written."""

    image: Image
    #: It has just been made.
    is_new: bool
    #: Bytes of its backing file; None: it has none, and what is not written reads as zeroes.
    backing_size: int | None
    #: Bytes; 0: it has no clusters.
    cluster_size: int


async def open_target(session: ToolSession, options: ConvertOptions, sources: Sequence[Image]) -> Target:
    """Make it, unless it is there, and open it. ToolError."""
    backing_file, backing_format = options.backing_file, options.backing_format
    assert options.target is not None
    total = sum(source.size for source in sources)
    creation: CreationOptions | None = None
    if not options.skip_create:
        driver = format_class(options.target_format or "raw")
        protocol = protocol_class(options.target)
        check_can_create(driver, protocol)
        creation = _creation_options(driver, protocol, options)
        creation.set_size(total)
        backing_file, backing_format = creation.text("backing_file"), creation.text("backing_fmt")
    if backing_file is not None:
        if len(sources) > 1:
            problem = "Having a backing file for the target makes no sense when concatenating multiple input images"
            raise ToolError(problem)
        if backing_format is None:
            raise ToolError("Use of backing file requires explicit backing format")
        if options.target_is_zero:
            # QEMU's exit status is that of an error that it forgot to set.
            raise ToolError(
                "Cannot use --target-is-zero when the destination image has a backing file",
                status=0,
            )
    if options.compressed:
        _check_compressible(options, creation)
    if options.bitmaps:
        await _check_bitmaps(options, sources[0])
    if creation is not None:
        try:
            await create_image(session, driver, protocol, options.target, creation)
        except ToolError as error:
            problem = f"{options.target}: error while converting {driver.name}: {error.messages[0]}"
            raise ToolError(problem, hint=error.hint) from error
    image = await _open(session, options)
    if options.skip_create and image.size < total:
        raise ToolError("output file is smaller than input file")
    info = await image.node.driver.image_info()
    backing = image.node.backing
    if backing_file is None:
        backing_size = None
    else:
        backing_size = -(-backing.size // 512) * 512 if backing is not None else image.size
    return Target(image, creation is not None, backing_size, info.cluster_size)


async def _open(session: ToolSession, options: ConvertOptions) -> Image:
    assert options.target is not None
    argument = ImageArgument(
        options.target,
        options.target_format,
        image_opts=options.target_image_opts,
        cache=options.cache(),
        writable=True,
        options=(("discard", "unmap"),) if options.sparse_size else (),
    )
    return await open_image(session, argument)


def _creation_options(
    driver: type[BlockDriver[Any]], protocol: type[BlockDriver[Any]], options: ConvertOptions
) -> CreationOptions:
    creation = CreationOptions(driver, protocol)
    for text in options.creation:
        creation.add(text)
    if options.backing_file is not None:
        if not creation.knows("backing_file"):
            raise ToolError(f"Backing file not supported for file format '{driver.name}'")
        creation.set("backing_file", options.backing_file)
    if options.backing_format is not None:
        if not creation.knows("backing_fmt"):
            raise ToolError(f"Backing format not supported for file format '{driver.name}'")
        creation.set("backing_fmt", options.backing_format)
    return creation


def _check_compressible(options: ConvertOptions, creation: CreationOptions | None) -> None:
    if options.target_format is not None and not format_class(options.target_format).defines("pwritev_compressed"):
        raise ToolError("Compression not supported for this file format")
    if creation is None:
        return
    if creation.is_on("encryption") or creation.text("encrypt.format") is not None:
        raise ToolError("Compression and encryption not supported at the same time")
    if (creation.text("preallocation") or "off") != "off":
        raise ToolError("Compression and preallocation not supported at the same time")


async def _check_bitmaps(options: ConvertOptions, source: Image) -> None:
    """Persistent bitmaps are not copied yet: an image that has none is as good as copied."""
    if source.node.driver.name != "qcow2":
        raise ToolError("Source lacks bitmap support")
    form = options.target_format or "raw"
    if form != "qcow2":
        raise ToolError(f"Format driver '{form}' does not support bitmaps")
    about = await source.node.driver.image_info()
    data = (about.format_specific or {}).get("data")
    if isinstance(data, dict) and data.get("bitmaps"):
        raise ToolError(f"Failed to copy the bitmaps of '{source.text}': persistent bitmaps are not supported yet")
