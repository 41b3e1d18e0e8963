# SPDX-License-Identifier: GPL-2.0-or-later
"""``img bench``: how fast is a simple sequence of requests?"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Final, NamedTuple

from asyncemu.cli.img.options import FORCE_SHARE, HELP, IMAGE_OPTS, Arguments
from asyncemu.cli.tools.cache_modes import CACHE_MODES, CacheMode
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, REQUIRED_ARGUMENT
from asyncemu.cli.tools.node_modes import AIO_MODES
from asyncemu.cli.tools.numbers import c_number
from asyncemu.cli.tools.opening import Image, ImageArgument, open_image
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.cli.tools.sizes import INT64_MAX, size_argument
from asyncemu.coroutines import Coroutine, start
from asyncemu.errors import BlockError
from asyncemu.memory.buffers import Buffers

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


class Load(NamedTuple):
    """What is sent."""

    requests: int
    #: Requests at a time.
    depth: int
    #: Bytes of one.
    size: int
    #: Where the first is, and how far the next one is from it.
    offset: int
    step: int
    write: bool
    #: The byte that is written.
    pattern: int
    #: Requests between flushes; 0: none.
    flush_interval: int
    #: Nothing else is under way during a flush.
    drains: bool


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
        await _Bench(session, image, load).run()
        sys.stdout.write(f"Run completed in {perf_counter() - began:3.3f} seconds.\n")
        return 0

    return run_tool(main, throughput=True)


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


class _Bench:
    """A request that ends begins the next one. QEMU: bench_cb."""

    def __init__(self, session: ToolSession, image: Image, load: Load) -> None:
        self._context = session.context
        self._image = image
        self._load = load
        self._end = self._context.loop.create_future()
        #: Requests that have not ended, and those of them that are under way; flushes that are.
        self._left = load.requests
        self._in_flight = 0
        self._flushes = 0
        self._offset = load.offset
        self._filling = False
        self._drained_flush_due = False
        self._buffers: list[Buffers] = []

    async def run(self) -> None:
        """ToolError when one fails."""
        self._fill()
        await self._end

    def _fill(self) -> None:
        """Keep ``depth`` of them under way. Requests that end at once come back here, and must not go deeper."""
        if self._filling:
            return
        self._filling = True
        try:
            while not self._end.done():
                if self._drained_flush_due:
                    if self._in_flight:
                        return
                    self._drained_flush_due = False
                    self._flush()
                if (self._flushes and self._load.drains) or self._in_flight >= min(self._left, self._load.depth):
                    break
                self._in_flight += 1
                start(self._context, self._request(), self._ended)
            if not self._left and not self._flushes and not self._end.done():
                self._end.set_result(None)
        finally:
            self._filling = False

    async def _request(self) -> None:
        load, offset = self._load, self._offset
        size = self._image.backend.size
        self._offset = (offset + load.step) % size if size else 0
        buffers = self._buffers.pop() if self._buffers else self._new_buffers()
        if load.write:
            await self._image.backend.pwritev(offset, buffers, self._image.write_flags)
        else:
            await self._image.backend.preadv(offset, buffers)
        self._buffers.append(buffers)

    def _new_buffers(self) -> Buffers:
        if not self._load.size:
            return Buffers()
        view = memoryview(mmap.mmap(-1, self._load.size))  # aligned for direct I/O
        if self._load.pattern:
            view[:] = bytes([self._load.pattern]) * self._load.size
        return Buffers((view,))

    def _ended(self, request: Coroutine[None]) -> None:
        self._in_flight -= 1
        self._left -= 1
        if self._failed(request):
            return
        interval = self._load.flush_interval
        # What is counted is requests that have not begun.
        if interval and (self._left - self._in_flight) % interval == 0:
            if self._load.drains:
                self._drained_flush_due = True
            else:
                self._flush()
        self._fill()

    def _flush(self) -> None:
        self._flushes += 1
        start(self._context, self._image.backend.flush(), self._flushed)

    def _flushed(self, request: Coroutine[None]) -> None:
        self._flushes -= 1
        if not self._failed(request):
            self._fill()

    def _failed(self, request: Coroutine[None]) -> bool:
        error = request.error
        if error is not None and not self._end.done():
            if isinstance(error, BlockError):
                error = ToolError(f"Failed request: {os.strerror(error.errno)}")
            self._end.set_exception(error)
        return error is not None
