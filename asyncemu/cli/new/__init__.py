# SPDX-License-Identifier: GPL-2.0-or-later
"""Write a plug-in of your own that works: a package with options, tests, an example and what it takes to install it.

  device   an MMIO device with a timer and an interrupt
  virtio   a virtio device with one queue
  block    a block driver, a disk in memory
  net      a network back end
  chardev  a character back end
  filter   a network filter

What is in the directory afterwards runs as it is; change it into what you need.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from asyncemu.cli.new.kinds import KINDS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this command takes."""
    parser.add_argument("kind", choices=tuple(KINDS), help="what to write")
    parser.add_argument("name", help="what vm.toml calls it: small letters, digits and dashes, like my-clock")
    parser.add_argument(
        "--directory", type=Path, metavar="DIR", help="where to write it; it must not be there yet (default: NAME)"
    )


def command(options: argparse.Namespace) -> int:
    """Write the package. Raises ConfigError, and then has left nothing."""
    from asyncemu.cli.new.names import check_name
    from asyncemu.cli.new.package import write_package

    check_name(KINDS[options.kind], options.name)
    directory: Path = options.directory if options.directory is not None else Path(options.name)
    written = write_package(options.kind, options.name, directory)
    for path in written:
        print(path)
    print(f"next: cd {directory} && pip install -e '.[dev]' && pytest")
    return 0
