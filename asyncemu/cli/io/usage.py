# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``--help`` prints."""

from __future__ import annotations

from typing import Final

from asyncemu.cli.tools.report import program

_OPTIONS: Final = """\
  --object OBJECTDEF   define what images refer to by name: a 'secret',
                       a 'throttle-group', 'tls-creds-x509'
  --image-opts         FILE is a list of options of the block driver
  -c, --cmd STRING     run this command, and do not read any from the
                       standard input; may be repeated
  -f, --format FMT     which block driver to use; otherwise a look at the
                       image tells
  -r, --read-only      open it to be read only
  -s, --snapshot       write to a temporary image over it
  -n, --nocache        past the host's page cache, as -t none
  -C, --copy-on-read   keep what is read from the backing file
  -m, --misalign       give requests memory that is not aligned
  -k, --native-aio     as -i native
  -i, --aio=MODE       how the file is read and written (threads, native or
                       io_uring)
  -t, --cache=MODE     cache mode (none, writeback, writethrough, directsync,
                       unsafe)
  -d, --discard=MODE   discard mode (ignore or unmap)
  -T, --trace [[enable=]<pattern>][,events=<file>][,file=<file>]
                       accepted, and without effect
  -U, --force-share    let others write to it; only with -r
  -h, --help           print this, and exit
  -V, --version        print the version, and exit
"""


def usage() -> str:
    """The whole text."""
    name = program()
    return (
        f"Usage: {name} [OPTIONS]... [-c STRING]... [file]\n"
        "Exercises a disk image, request by request\n\n"
        f"{_OPTIONS}\n"
        f"See '{name} -c help' for the commands.\n"
    )


def version() -> str:
    """What ``--version`` prints."""
    from asyncemu.cli.tools.version import version_lines

    return version_lines(f"{program()} version", "qemu-io")
