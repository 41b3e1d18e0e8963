# SPDX-License-Identifier: GPL-2.0-or-later
"""What the options of all commands have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from asyncemu.cli.img.program import bad_option, usage_error
from asyncemu.cli.tools.cache_modes import CACHE_MODES, CacheMode
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, REQUIRED_ARGUMENT, BadOption, OptionScanner
from asyncemu.cli.tools.objects import UserObjects, object_help

#: Long options that most commands have.
HELP: Final = {"help": (NO_ARGUMENT, "h")}
OBJECT: Final = {"object": (REQUIRED_ARGUMENT, "object")}
IMAGE_OPTS: Final = {"image-opts": (NO_ARGUMENT, "image-opts")}
FORCE_SHARE: Final = {"force-share": (NO_ARGUMENT, "U")}
FORMAT: Final = {"format": (REQUIRED_ARGUMENT, "f")}
OUTPUT: Final = {"output": (REQUIRED_ARGUMENT, "output")}


class Arguments:
    """The command line of one command, whose name is ``argv[0]``. Iterate for its options, then take ``rest``.

    ``--help`` and ``--object``, which mean the same everywhere, are dealt with here.
    """

    def __init__(self, argv: Sequence[str], short: str, long: Mapping[str, tuple[int, str]]) -> None:
        self._scanner = OptionScanner(argv[1:], short, long, argv[0])
        #: What ``--object`` has defined so far.
        self.objects = UserObjects()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Pairs of an option's name and its argument. Raises ToolError."""
        try:
            for option, argument in self._scanner:
                if option == "h":
                    from asyncemu.cli.img.help import print_help

                    print_help()
                    raise ToolError(status=0)
                if option == "object":
                    if object_help(argument):
                        raise ToolError(status=0)
                    self.objects.add(argument)
                else:
                    yield option, argument
        except BadOption as error:
            raise bad_option(error) from error

    @property
    def rest(self) -> list[str]:
        """The other arguments."""
        return self._scanner.rest

    def one_image(self) -> str:
        """The only other argument."""
        rest = self.rest
        if len(rest) != 1:
            raise usage_error("Expecting one image file name")
        return rest[0]


def output_is_json(text: str) -> bool:
    """The argument of ``--output``."""
    if text not in ("json", "human"):
        raise ToolError("--output must be used with human or json as argument.")
    return text == "json"


def cache_mode(text: str, name: str = "cache") -> CacheMode:
    """The argument of ``-t``, or of ``-T``, which is the ``source cache``."""
    mode = CACHE_MODES.get(text)
    if mode is None:
        raise ToolError(f"Invalid {name} option: {text}")
    return mode
