# SPDX-License-Identifier: GPL-2.0-or-later
"""A QMP client that says whatever bytes it is told to: for what a good client would never say."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

#: Bytes of a reply: the schema is the longest one.
LIMIT = 16 << 20


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.events: list[dict[str, Any]] = []

    @classmethod
    async def connect(cls, path: Path, *, enable: str | None = "") -> RawClient:
        """Connect, and negotiate with these capabilities (a JSON list's inside); None: do not."""
        client = cls(*await asyncio.open_unix_connection(path, limit=LIMIT))
        await client.read()
        if enable is not None:
            reply = await client.ask("qmp_capabilities", enable=json.loads(f"[{enable}]"))
            assert reply == {"return": {}}
        return client

    def send(self, data: bytes) -> None:
        """Say ``data``."""
        self.writer.write(data)

    async def read(self) -> dict[str, Any]:
        """The next message."""
        message: dict[str, Any] = json.loads(await self.reader.readline())
        return message

    async def reply(self) -> dict[str, Any]:
        """The next message that is no event."""
        while "event" in (message := await self.read()):
            self.events.append(message)
        return message

    async def event(self, name: str) -> dict[str, Any]:
        """The next event of that name."""
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name:
                    return self.events.pop(index)
            message = await self.read()
            assert "event" in message
            self.events.append(message)

    async def ask(self, name: str, how: str = "execute", **arguments: Any) -> dict[str, Any]:
        """One command, and its reply."""
        self.send(json.dumps({how: name, **({"arguments": arguments} if arguments else {})}).encode() + b"\n")
        return await self.reply()

    async def answers(self, data: bytes) -> list[dict[str, Any]]:
        """The replies to ``data``, which is to leave nothing open."""
        self.send(data + b'\n{"execute":"query-name","id":"the end"}\n')
        replies: list[dict[str, Any]] = []
        while (reply := await self.reply()).get("id") != "the end":
            replies.append(reply)
        return replies

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        # Who leaves with something unread is reset; that is no matter here.
        with suppress(ConnectionError):
            await self.writer.wait_closed()
