# SPDX-License-Identifier: GPL-2.0-or-later
"""An HTTP service inside the emulator, for the guest alone: an async function behind an address of its network.

In vm.toml (the path is relative to that file; see net.toml):

    [[netdev]]
    id = "net0"
    type = "user"
    guestfwd = ["tcp:10.0.2.100:80-python:guest_http.py:serve"]

In the guest:

    $ wget -qO- http://10.0.2.100/hello
    Hello from the emulator. You asked for /hello, as number 1.
"""

from __future__ import annotations

import asyncio
from itertools import count

#: Bytes of a request's head at most.
MAX_HEAD = 8192

numbers = count(1)


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request and its answer; the connection ends when this returns."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return
    words = head.split(b"\r\n", 1)[0].split()
    if len(head) > MAX_HEAD or len(words) != 3 or words[0] not in (b"GET", b"HEAD"):
        status, body = b"400 Bad Request", b"I know GET only.\n"
    else:
        status = b"200 OK"
        body = b"Hello from the emulator. You asked for %s, as number %d.\n" % (words[1], next(numbers))
    writer.write(b"HTTP/1.0 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % (status, len(body)))
    if words[:1] != [b"HEAD"]:
        writer.write(body)
    await writer.drain()
