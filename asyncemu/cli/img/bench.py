# SPDX-License-Identifier: GPL-2.0-or-later
"""``img bench``: how fast is a simple sequence of requests?"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from asyncemu.cli.img.bench_load import Bench, FlushingBench, Load
from asyncemu.cli.img.options import FORCE_SHARE, HELP, IMAGE_OPTS, Arguments
from asyncemu.cli.tools.cache_modes import CACHE_MODES, CacheMode
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, REQUIRED_ARGUMENT
from asyncemu.cli.tools.node_modes import AIO_MODES
from asyncemu.cli.tools.numbers import c_number
from asyncemu.cli.tools.opening import ImageArgument, open_image
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.cli.tools.sizes import INT64_MAX, size_argument

SHORT: Final = ":hc:d:f:ni:o:qs:S:t:wU"
LONG: Final = {
    **HELP,
    "flush-interval": (REQUIRED_ARGUMENT, "flush-interval"),
    "pattern": (REQUIRED_ARGUMENT, "pattern"),
    "no-drain": (NO_ARGUMENT, "no-drain"),
    **IMAGE_OPTS,
    **FORCE_SHARE,
}

_INT_MAX: Final = (1 << 31) - 1


def command(argv: Sequence[str]) -> int:
    """Measure; the exit status."""
    arguments = Arguments(argv, SHORT, LONG)
    given: dict[str, str] = {}
    cache = CACHE_MODES["writeback"]
    for option, argument in arguments:
        if option == "n":
            given["i"] = "native"
        elif option == "t":
            cache = _cache_mode(argument)
        else:
            _check(option, argument)
            given[option] = argument
    filename = arguments.one_image()
    load = _load(given)
    image_argument = ImageArgument(
        filename,
        given.get("f"),
        image_opts="image-opts" in given,
        cache=cache,
        writable=load.write,
        force_share="U" in given,
        aio=given.get("i", ""),
    )

    async def main(session: ToolSession) -> int:
        image = await open_image(session, image_argument)
        _announce(load)
        began = perf_counter()
        await (FlushingBench if load.flush_interval else Bench)(session.context, image, load).run()
        sys.stdout.write(f"Run completed in {perf_counter() - began:3.3f} seconds.\n")
        return 0

    return run_tool(main, throughput=True, copies=True)


def _cache_mode(text: str) -> CacheMode:
    mode = CACHE_MODES.get(text)
    if mode is None:
        raise ToolError("Invalid cache mode")
    return mode


def _check(option: str, argument: str) -> None:
    """Each where it stands. ToolError."""
    match option:
        case "c":
            _number(argument, "request count", 0, _INT_MAX)
        case "d":
            _number(argument, "queue depth", 1, _INT_MAX)
        case "flush-interval":
            _number(argument, "flush interval", 0, _INT_MAX)
        case "pattern":
            _number(argument, "pattern byte", 0, 255)
        case "o":
            size_argument("offset", argument, 0, INT64_MAX)
        case "s":
            size_argument("buffer size", argument, 0, _INT_MAX)
        case "S":
            size_argument("step_size", argument, 0, _INT_MAX)
        case "i" if argument not in AIO_MODES:
            raise ToolError(f"Invalid aio option: {argument}")


def _load(given: dict[str, str]) -> Load:
    size = size_argument("buffer size", given.get("s", "4096"))
    load = Load(
        requests=_number(given.get("c", "75000"), "request count", 0, _INT_MAX),
        depth=_number(given.get("d", "64"), "queue depth", 1, _INT_MAX),
        size=size,
        offset=size_argument("offset", given.get("o", "0")),
        step=size_argument("step_size", given.get("S", "0")) or size,
        write="w" in given,
        pattern=_number(given.get("pattern", "0"), "pattern byte", 0, 255),
        flush_interval=_number(given.get("flush-interval", "0"), "flush interval", 0, _INT_MAX),
        drains="no-drain" not in given,
    )
    if load.flush_interval and not load.write:
        raise ToolError("--flush-interval is only available in write tests")
    if load.flush_interval and load.flush_interval < load.depth:
        raise ToolError("Flush interval can't be smaller than depth")
    return load


def _number(text: str, name: str, least: int, most: int) -> int:
    number = c_number(text)
    if number is None or not least <= number <= most:
        raise ToolError(f"Invalid {name} specified")
    return number


def _announce(load: Load) -> None:
    sys.stdout.write(
        f"Sending {load.requests} {'write' if load.write else 'read'} requests, {load.size} bytes each, "
        f"{load.depth} in parallel (starting at offset {load.offset}, step size {load.step})\n"
    )
    if load.flush_interval:
        sys.stdout.write(f"Sending flush every {load.flush_interval} requests\n")
    sys.stdout.flush()
