# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line of ``img convert``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from asyncemu.cli.img.create import checked_options
from asyncemu.cli.img.options import FORCE_SHARE, HELP, IMAGE_OPTS, OBJECT, Arguments, cache_mode
from asyncemu.cli.tools.cache_modes import CacheMode
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT
from asyncemu.cli.tools.numbers import c_number
from asyncemu.cli.tools.objects import UserObjects
from asyncemu.cli.tools.sizes import size_argument

SHORT: Final = ":hf:O:B:CcF:o:l:S:pt:T:qnm:WUr:"
LONG: Final = {
    **HELP,
    **OBJECT,
    **IMAGE_OPTS,
    **FORCE_SHARE,
    "target-image-opts": (NO_ARGUMENT, "target-image-opts"),
    "salvage": (NO_ARGUMENT, "salvage"),
    "target-is-zero": (NO_ARGUMENT, "target-is-zero"),
    "bitmaps": (NO_ARGUMENT, "bitmaps"),
    "skip-broken-bitmaps": (NO_ARGUMENT, "skip-broken-bitmaps"),
}

SECTOR: Final = 512

#: Bytes of the longest buffer, which a run of zeroes can't be longer than. QEMU: MAX_BUF_SECTORS.
LONGEST_BUFFER: Final = 32768 * SECTOR

_MAX_COROUTINES: Final = 16


class ConvertOptions:
    """What the user has said."""

    def __init__(self) -> None:
        self.objects = UserObjects()
        self.sources: list[str] = []
        self.target: str | None = None
        self.source_format: str | None = None
        #: None: with --target-image-opts, else it is raw.
        self.target_format: str | None = None
        self.image_opts = self.target_image_opts = False
        self.force_share = False
        #: The arguments of -o.
        self.creation: list[str] = []
        self.backing_file: str | None = None
        self.backing_format: str | None = None
        self.snapshot: str | None = None
        #: The target is there already.
        self.skip_create = False
        self.target_is_zero = False
        self.compressed = False
        self.copy_range = False
        self.salvage = False
        self.bitmaps = False
        #: Bytes of zeroes that are worth a hole; 0: none are looked for.
        self.sparse_size = 4096
        self.explicit_sparse_size = False
        self.coroutines = 8
        self.out_of_order = False
        #: Bytes a second; 0: no limit.
        self.rate_limit = 0
        self.cache_text = "unsafe"
        self.source_cache_text = "writeback"
        self.progress = self.quiet = False

    def cache(self) -> CacheMode:
        """Of the target. ToolError."""
        return cache_mode(self.cache_text)

    def source_cache(self) -> CacheMode:
        """Of the sources. ToolError."""
        return cache_mode(self.source_cache_text, "source cache")


def parse(argv: Sequence[str]) -> ConvertOptions:
    """ToolError: they make no sense."""
    arguments = Arguments(argv, SHORT, LONG)
    options = ConvertOptions()
    options.objects = arguments.objects
    skips_broken = False
    for option, argument in arguments:
        if option == "skip-broken-bitmaps":
            skips_broken = True
        else:
            _take(options, option, argument)
    names = arguments.rest
    if options.target_format is None and not options.target_image_opts:
        options.target_format = "raw"
    if len(names) > 1:
        *options.sources, options.target = names
    elif names:
        # Alone it is no target, but -o help takes it for one.
        options.sources = names
    if skips_broken and not options.bitmaps:
        raise ToolError("Use of --skip-broken-bitmaps requires --bitmaps")
    _check(options)
    return options


def _take(options: ConvertOptions, option: str, argument: str) -> None:
    match option:
        case "o":
            options.creation.append(checked_options(argument))
        case "S":
            options.sparse_size = _sparse_size(argument)
            options.explicit_sparse_size = True
        case "m":
            options.coroutines = _coroutines(argument)
        case "r":
            options.rate_limit = size_argument("rate limit", argument)
        case _ if option in _TEXTS:
            setattr(options, _TEXTS[option], argument)
        case _:
            setattr(options, _FLAGS[option], True)


_TEXTS: Final = {
    "f": "source_format",
    "O": "target_format",
    "B": "backing_file",
    "F": "backing_format",
    "l": "snapshot",
    "t": "cache_text",
    "T": "source_cache_text",
}

_FLAGS: Final = {
    "C": "copy_range",
    "c": "compressed",
    "p": "progress",
    "q": "quiet",
    "n": "skip_create",
    "W": "out_of_order",
    "U": "force_share",
    "image-opts": "image_opts",
    "target-image-opts": "target_image_opts",
    "salvage": "salvage",
    "target-is-zero": "target_is_zero",
    "bitmaps": "bitmaps",
}


def _sparse_size(text: str) -> int:
    size = size_argument("buffer size for sparse output", text)
    if size % SECTOR or size > LONGEST_BUFFER:
        raise ToolError(
            f"Invalid buffer size for sparse output specified. Valid sizes are multiples of {SECTOR} up to "
            f"{LONGEST_BUFFER}. Select 0 to disable sparse detection (fully allocates output)."
        )
    return size


def _coroutines(text: str) -> int:
    number = c_number(text)
    if number is None or not 1 <= number <= _MAX_COROUTINES:
        raise ToolError(
            "Invalid number of coroutines. Allowed number of coroutines is between 1 and " + str(_MAX_COROUTINES)
        )
    return number


def _check(options: ConvertOptions) -> None:
    """Options that don't go together. ToolError."""
    if options.compressed and options.copy_range:
        raise ToolError("Cannot enable copy offloading when -c is used")
    if options.explicit_sparse_size and options.copy_range:
        raise ToolError("Cannot enable copy offloading when -S is used")
    if options.salvage and options.copy_range:
        raise ToolError("Cannot use copy offloading in salvaging mode")
    if options.target_image_opts and not options.skip_create:
        raise ToolError("--target-image-opts requires use of -n flag")
    if options.skip_create and options.creation:
        raise ToolError("-o has no effect when skipping image creation")
    if options.target_is_zero and not options.skip_create:
        raise ToolError("--target-is-zero requires use of -n flag")
