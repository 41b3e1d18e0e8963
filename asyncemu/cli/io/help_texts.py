# SPDX-License-Identifier: GPL-2.0-or-later
"""What ``help COMMAND`` adds to the synopsis."""

from __future__ import annotations

from typing import Final

_AIO: Final = """\
 The command ends when the request has begun, and has succeeded then: errors
 and wrong patterns are printed when the request ends, and change nothing else.
 aio_flush waits for it.
"""

HELP: Final = {
    "read": """\
 reads one buffer at an offset

 Example:
 'read -v 4k 64' - shows the 64 bytes behind the first 4 kilobytes

 -b, -- from the VM state instead of the disk
 -C, -- result as one line of comma-separated numbers
 -l, -- how many bytes to compare with the pattern (with -P)
 -p, -- has no effect any more
 -P, -- compare what is read with this byte
 -q, -- print no result
 -s, -- how far behind the offset the comparison begins (with -P)
 -v, -- print the bytes
""",
    "readv": """\
 reads several buffers in one request

 Example:
 'readv -v 4k 32 32' - shows 64 bytes, which are read into two buffers

 -C, -- result as one line of comma-separated numbers
 -P, -- compare what is read with this byte
 -v, -- print the bytes
 -q, -- print no result
""",
    "write": """\
 writes one buffer at an offset

 Example:
 'write 4k 64' - writes 64 bytes behind the first 4 kilobytes

 What is written is 0xcd over and over, unless an option says otherwise.
 -b, -- to the VM state instead of the disk
 -c, -- store it compressed
 -f, -- on stable storage before the request ends (force unit access)
 -n, -- with -z: fail when zeroes would have to be written as data
 -p, -- has no effect any more
 -P, -- write this byte
 -s, -- write what is in this file, from its beginning again when it is short
 -C, -- result as one line of comma-separated numbers
 -q, -- print no result
 -u, -- with -z: the storage may be given back
 -z, -- write zeroes, without a buffer
""",
    "writev": """\
 writes several buffers in one request

 Example:
 'writev 4k 32 32' - writes 64 bytes from two buffers

 What is written is 0xcd over and over, unless an option says otherwise.
 -P, -- write this byte
 -C, -- result as one line of comma-separated numbers
 -f, -- on stable storage before the request ends (force unit access)
 -q, -- print no result
""",
    "aio_read": f"""\
 reads several buffers in one request, while other commands go on

 Example:
 'aio_read -v 4k 32 32' - will show 64 bytes, which are read into two buffers

{_AIO} -C, -- result as one line of comma-separated numbers
 -P, -- compare what is read with this byte
 -i, -- count an invalid request, and make none
 -v, -- print the bytes
 -q, -- print no result
""",
    "aio_write": f"""\
 writes several buffers in one request, while other commands go on

 Example:
 'aio_write 4k 32 32' - writes 64 bytes from two buffers

 What is written is 0xcd over and over, unless an option says otherwise.
{_AIO} -P, -- write this byte
 -C, -- result as one line of comma-separated numbers
 -f, -- on stable storage before the request ends (force unit access)
 -i, -- count an invalid request, and make none
 -q, -- print no result
 -u, -- with -z: the storage may be given back
 -z, -- write zeroes, without buffers
""",
    "discard": """\
 says that bytes are not needed any more

 Example:
 'discard 4k 1M' - the storage of this megabyte may be given back

 -C, -- result as one line of comma-separated numbers
 -q, -- print no result
""",
    "open": """\
 opens an image for the commands that follow

 Example:
 'open -n -o driver=raw disk.img' - raw, to be written, past the page cache

 -r, -- to be read only
 -s, -- write to a temporary image over it
 -C, -- keep what is read from the backing file
 -n, -- past the host's page cache, as -t none
 -U, -- let others write to it
 -k, -- as -i native
 -i, -- how the file is read and written: threads, native or io_uring
 -t, -- cache mode
 -d, -- discard mode
 -o, -- options of the block driver""",
    "reopen": """\
 gives the open image other options

 Example:
 'reopen -o lazy-refcounts=on' - a qcow2 image writes its refcounts late

 -r, -- it can't be written from now on
 -w, -- it can
 -c, -- another cache mode
 -o, -- options of the block driver, as for 'open'
""",
    "sigraise": """\
 sends the program itself a signal

 Example:
 'sigraise 9' - kills it, with all that was not written yet
""",
}
