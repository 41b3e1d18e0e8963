# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``--help`` and ``--version`` print."""

from __future__ import annotations

from typing import Final

from asyncemu.cli.nbd.settings import DEFAULT_PORT
from asyncemu.cli.tools.report import program
from asyncemu.cli.tools.version import version_lines

_OPTIONS: Final = f"""\
  -h, --help                print this, and exit
  -V, --version             print the version, and exit

Clients:
  -p, --port=PORT           TCP port (default `{DEFAULT_PORT}')
  -b, --bind=IFACE          interface to listen at (default `0.0.0.0')
  -k, --socket=PATH         listen at a Unix socket instead
  -e, --shared=NUM          so many clients at a time; 0: any number
                            (default `1')
  -t, --persistent          stay when the last client has left
  -v, --verbose             accepted; what goes wrong is printed in any case
  -x, --export-name=NAME    name of the export (default: the empty one)
  -D, --description=TEXT    what clients are told about it

What they see of the image:
  -o, --offset=OFFSET       what is behind so many bytes
  -A, --allocation-depth    which layer of its chain the data are in
  -B, --bitmap=NAME         a persistent dirty bitmap (refused)

Other options:
  -L, --list                print what another NBD server offers
  --object type,id=ID,...   define what other options refer to by name: a
                            'secret', 'tls-creds-x509', a 'throttle-group'
  --tls-creds=ID            let in who uses TLS only, with these credentials
  --tls-authz=ID            and is allowed by this object
  --tls-hostname=NAME       with -L: whom the server's certificate is to be for
  -T, --trace [[enable=]<pattern>][,events=<file>][,file=<file>]
                            accepted, and without effect
  --fork                    go on in the background once clients can come
  --pid-file=PATH           write the process's number to this file
  --selinux-label=LABEL     SELinux label of the listening socket

Client of the kernel (refused):
  -c, --connect=DEV         connect it to the image
  -d, --disconnect          disconnect it

The image:
  -f, --format=FORMAT       its format (raw, qcow2, ...); otherwise a look at it
                            tells
  -r, --read-only           clients can't write
  -s, --snapshot            write to a temporary image over it
  -l, --load-snapshot=SNAPSHOT_PARAM
                            offer one of its internal snapshots, read-only:
                            'snapshot.id=[ID],snapshot.name=[NAME]', or
                            '[ID_OR_NAME]'
  -n, --nocache             as --cache=none
      --cache=MODE          cache mode: 'none', 'writeback' (default),
                            'writethrough', 'directsync' or 'unsafe'
      --aio=MODE            how its file is read and written (native, io_uring,
                            threads)
      --discard=MODE        what becomes of discards (ignore, unmap)
      --detect-zeroes=MODE  what becomes of zeroes that are written (off, on,
                            unmap)
      --image-opts          FILE is a list of options of the block driver
"""


def usage() -> str:
    """The whole text."""
    name = program()
    return (
        f"Usage: {name} [OPTIONS] FILE\n"
        f"  or:  {name} -L [OPTIONS]\n"
        "Offers a disk image to clients of NBD, the network block device\n\n"
        f"{_OPTIONS}"
    )


def version() -> str:
    """What ``--version`` prints."""
    return version_lines(program(), "qemu-nbd")
