# SPDX-License-Identifier: GPL-2.0-or-later
"""``img convert``: copy images into a new one, of another format, or smaller."""

from __future__ import annotations

from collections.abc import Sequence

from asyncemu.cli.img.conversion_target import open_target
from asyncemu.cli.img.convert_options import ConvertOptions, parse
from asyncemu.cli.img.create import print_creation_help
from asyncemu.cli.img.snapshots import load_snapshot
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image
from asyncemu.cli.tools.option_strings import has_help
from asyncemu.cli.tools.progress import ProgressLine
from asyncemu.cli.tools.runner import ToolSession, run_tool


def command(argv: Sequence[str]) -> int:
    """Copy; the exit status."""
    options = parse(argv)
    if any(has_help(text) for text in options.creation):
        if options.target_format is not None:
            print_creation_help(options.target_format, options.target)
        return 0

    async def main(session: ToolSession) -> int:
        with ProgressLine(options.progress and not options.quiet) as progress:
            await _convert(session, options, progress)
        return 0

    return run_tool(main, options.objects, copies=True)


async def _convert(session: ToolSession, options: ConvertOptions, progress: ProgressLine) -> None:
    from asyncemu.cli.img.conversion import Conversion

    progress.report(0)
    if not options.sources or options.target is None:
        raise ToolError("Must specify image file name")
    sources = [await _open_source(session, options, name) for name in options.sources]
    if options.snapshot is not None:
        if len(sources) > 1:
            raise ToolError("No support for concatenating multiple snapshot")
        await load_snapshot(sources[0], options.snapshot)
    target = await open_target(session, options, sources)
    await Conversion(session.context, options, sources, target, progress).run()
    progress.report(1)


async def _open_source(session: ToolSession, options: ConvertOptions, name: str) -> Image:
    argument = ImageArgument(
        name,
        options.source_format,
        image_opts=options.image_opts,
        cache=options.source_cache(),
        force_share=options.force_share,
        exclusive=True,
    )
    return await open_image(session, argument)
