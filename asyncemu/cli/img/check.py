# SPDX-License-Identifier: GPL-2.0-or-later
"""``img check``: look for damage in an image, and repair it.

Exit status: 0 none (any more), 1 the check failed, 2 damage, 3 leaked clusters only, 63 the format has no check.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Final, cast

from asyncemu.block.open_mode import OpenMode
from asyncemu.block.types import CheckFailed, CheckResult, Repair
from asyncemu.cli.img.options import (
    FORCE_SHARE,
    FORMAT,
    HELP,
    IMAGE_OPTS,
    OBJECT,
    OUTPUT,
    Arguments,
    cache_mode,
    output_is_json,
)
from asyncemu.cli.img.program import usage_error
from asyncemu.cli.tools.failure import ToolError, errno_of
from asyncemu.cli.tools.getopt_long import REQUIRED_ARGUMENT
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image
from asyncemu.cli.tools.report import complain
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.errors import AsyncemuError

SHORT: Final = ":hf:r:T:qU"
LONG: Final = {
    **HELP,
    **FORMAT,
    "repair": (REQUIRED_ARGUMENT, "r"),
    **OUTPUT,
    **OBJECT,
    **IMAGE_OPTS,
    **FORCE_SHARE,
}

#: The format has no check.
UNSUPPORTED: Final = 63


def command(argv: Sequence[str]) -> int:
    """Look, repair; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given: dict[str, str] = {}
    for option, argument in arguments:
        if option == "r" and argument not in ("leaks", "all"):
            raise usage_error(f"Unknown option value for -r (expecting 'leaks' or 'all'): {argument}")
        given[option] = argument
    filename = arguments.one_image()
    as_json = output_is_json(given.get("output", "human"))
    repair = cast(Repair, given.get("r", ""))
    image_argument = ImageArgument(
        filename,
        given.get("f"),
        image_opts="image-opts" in given,
        cache=cache_mode(given.get("T", "writeback"), "source cache"),
        writable=bool(repair),
        resizable=bool(repair),
        force_share="U" in given,
        mode=OpenMode(check=True),
    )

    async def main(session: ToolSession) -> int:
        image = await open_image(session, image_argument)
        if not image.node.driver.defines("check"):
            raise ToolError("This image format does not support checks", status=UNSUPPORTED)
        result = await _checked(image, repair, quiet=as_json or "q" in given)
        if as_json:
            _print_json(image, filename, result)
        elif "q" not in given:
            _print_text(result)
        return _status(result)

    return run_tool(main, arguments.objects)


async def _checked(image: Image, repair: Repair, *, quiet: bool) -> CheckResult:
    """After a repair there is a second look, whose counts are those that are left."""
    result = await _check(image, repair)
    fixed = result.leaks_fixed, result.corruptions_fixed
    if not any(fixed):
        return result
    if not quiet:
        sys.stdout.write(
            "The following inconsistencies were found and repaired:\n\n"
            f"    {fixed[0]} leaked clusters\n"
            f"    {fixed[1]} corruptions\n\n"
            "Double checking the fixed image now...\n"
        )
    result = await _check(image, "")
    result.leaks_fixed, result.corruptions_fixed = fixed
    return result


async def _check(image: Image, repair: Repair) -> CheckResult:
    try:
        result = await image.node.driver.check(repair, lambda done, total: None)
    except (AsyncemuError, OSError) as error:
        if isinstance(error, CheckFailed):
            for finding in error.result.findings:
                complain(finding)
        raise ToolError(f"Check failed: {os.strerror(errno_of(error))}") from error
    for finding in result.findings:
        complain(finding)
    return result


def _status(result: CheckResult) -> int:
    if result.check_errors:
        raise ToolError("Check failed")
    if result.corruptions:
        return 2
    return 3 if result.leaks else 0


def _print_json(image: Image, filename: str, result: CheckResult) -> None:
    from asyncemu.cli.tools.qemu_json import pretty

    counts = {
        "corruptions": result.corruptions,
        "leaks": result.leaks,
        "corruptions-fixed": result.corruptions_fixed,
        "leaks-fixed": result.leaks_fixed,
        "image-end-offset": result.image_end_offset,
        "total-clusters": result.total_clusters,
        "allocated-clusters": result.allocated_clusters,
        "fragmented-clusters": result.fragmented_clusters,
        "compressed-clusters": result.compressed_clusters,
    }
    table: dict[str, object] = {
        "filename": filename,
        "format": image.node.driver.name,
        "check-errors": result.check_errors,
        **{key: count for key, count in counts.items() if count},
    }
    sys.stdout.write(pretty(table) + "\n")


def _print_text(result: CheckResult) -> None:
    lines = []
    if not (result.corruptions or result.leaks or result.check_errors):
        lines.append("No errors were found on the image.")
    if result.corruptions:
        lines += ["", f"{result.corruptions} errors were found on the image."]
        lines.append("Data may be corrupted, or further writes to the image may corrupt it.")
    if result.leaks:
        lines += ["", f"{result.leaks} leaked clusters were found on the image."]
        lines.append("This means waste of disk space, but no harm to data.")
    if result.check_errors:
        lines += ["", f"{result.check_errors} internal errors have occurred during the check."]
    allocated = result.allocated_clusters
    if result.total_clusters and allocated:
        lines.append(
            f"{allocated}/{result.total_clusters} = {allocated * 100 / result.total_clusters:.2f}% allocated, "
            f"{result.fragmented_clusters * 100 / allocated:.2f}% fragmented, "
            f"{result.compressed_clusters * 100 / allocated:.2f}% compressed clusters"
        )
    if result.image_end_offset:
        lines.append(f"Image end offset: {result.image_end_offset}")
    sys.stdout.write("\n".join(lines) + "\n")
