# SPDX-License-Identifier: GPL-2.0-or-later
"""--help and --version. The syntax of the commands is qemu-img's, which scripts look for; the words are ours."""

from __future__ import annotations

import sys
from typing import Final

from asyncemu.cli.tools.version import version_lines

_SYNTAX: Final = {
    "amend": "[--object objectdef] [--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options filename",
    "bench": "[-c count] [-d depth] [-f fmt] [--flush-interval=flush_interval] [-i aio] [-n] [--no-drain] [-o "
    "offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename",
    "bitmap": "(--merge SOURCE | --add | --remove | --clear | --enable | --disable)... [-b source_file [-F "
    "source_fmt]] [-g granularity] [--object objectdef] [--image-opts | -f fmt] filename bitmap",
    "check": "[--object objectdef] [--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T "
    "src_cache] [-U] filename",
    "commit": "[--object objectdef] [--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] [-p] "
    "filename",
    "compare": "[--object objectdef] [--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] "
    "filename1 filename2",
    "convert": "[--object objectdef] [--image-opts] [--target-image-opts] [--target-is-zero] [--bitmaps] [-U] "
    "[-C] [-c] [-p] [-q] [-n] [-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F "
    "backing_fmt]] [-o options] [-l snapshot_param] [-S sparse_size] [-r rate_limit] [-m "
    "num_coroutines] [-W] [--salvage] filename [filename2 [...]] output_filename",
    "create": "[--object objectdef] [-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]",
    "dd": "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] "
    "if=input of=output",
    "info": "[--object objectdef] [--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename",
    "map": "[--object objectdef] [--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] "
    "[--output=ofmt] [-U] filename",
    "measure": "[--output=ofmt] [-O output_fmt] [-o options] [--size N | [--object objectdef] [--image-opts] [-f "
    "fmt] [-l snapshot_param] filename]",
    "snapshot": "[--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename",
    "rebase": "[--object objectdef] [--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b "
    "backing_file [-F backing_fmt] filename",
    "resize": "[--object objectdef] [--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] filename "
    "[+ | -]size",
}

_HEAD: Final = """\
usage: qemu-img [standard options] command [command options]
Disk images: make, convert, compare, check, change them

    '-h', '--help'       show this text
    '-V', '--version'    show the version
    '-T', '--trace'      [[enable=]<pattern>][,events=<file>][,file=<file>]
                         accepted, and without effect

Command syntax:
"""

_TAIL: Final = """
Command parameters:
  'filename' names an image: a file, protocol:..., or json:{{...}}; with
    --image-opts it is options of a block node instead
  'fmt' is an image's format; where it is not given, the image's first bytes
    tell it, which a guest may have written
  'objectdef' defines an object that images refer to, such as a secret:
    type,id=name,key=value
  'cache' is how what is written is cached: none, writeback (the default, but
    for convert), writethrough, directsync, unsafe (the default for convert);
    'src_cache' is the same for what is read
  'size', 'offset', 'len', 'N' are bytes, with a suffix multiples of 1024: k or
    K, M, G, T, P, E
  'options' are the format's own, name=value,...; -o help lists them
  'snapshot_param' chooses an internal snapshot: its id or name, or
    snapshot.id=[ID],snapshot.name=[NAME]
  -b, -F      the backing file, and its format
  -c          compress (convert), take a snapshot (snapshot)
  -n          the target is there already: don't create it (convert)
  -p          show how far it is; SIGUSR1 asks for that, too
  -q          say nothing but errors
  -u          trust the names of backing files without a look at them
  -S          write zeroes that go on for so many bytes (4k) as holes; 0: never
  -m, -W      so many requests at a time (8), in any order (convert)
  -U          others may write to the image meanwhile
  --output    human or json
  -r          repair leaks, or all (check); bytes a second (convert, commit)
  -s          sizes and allocation must be equal, too (compare)
  -l -a -c -d list, apply, create, delete internal snapshots (snapshot)
  bs count skip if of: as dd(1) has them (dd)

Exit status: 0, or 1 after an error. compare: 1 they differ, above it an error.
check: 1 it could not be done, 2 damaged, 3 only leaks, 63 not for this format.

Supported formats: {formats}
"""


def print_help() -> None:
    """Write it to stdout."""
    from asyncemu.plugins import names

    print_version()
    commands = "".join(f"  {name} {syntax}\n" for name, syntax in _SYNTAX.items())
    tail = _TAIL.format(formats=" ".join(names("blockdev")))
    sys.stdout.write(_HEAD + commands + tail)


def print_version() -> None:
    """Write it to stdout."""
    sys.stdout.write(version_lines("qemu-img version", "qemu-img"))
