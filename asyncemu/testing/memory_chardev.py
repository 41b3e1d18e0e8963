# SPDX-License-Identifier: GPL-2.0-or-later
"""MemoryChardev: a character back end whose outside is the test.

    chardev = await MemoryChardev.make(context)
    chardev.type(b"input")               # the device gets it as it has room
    assert chardev.sent == b"output"
    chardev.limit = 0                    # the outside takes no more, until accept() is called

Importing this module makes the back end ``test-memory`` known to vm.toml.
"""

from __future__ import annotations

from asyncemu.chardev import Chardev, ChardevOptions
from asyncemu.loop import AioContext, home


class MemoryChardev(Chardev[ChardevOptions], name="test-memory"):
    """``sent`` is all that went out, ``untyped`` the input that the front end had no room for yet.

    ``in_break``: the device holds its line in the break condition.
    """

    def __init__(self, options: ChardevOptions, id: str, context: AioContext) -> None:
        super().__init__(options, id, context)
        self.sent = b""
        self.untyped = b""
        #: Bytes in ``sent`` at which the outside takes no more; None: it takes everything.
        self.limit: int | None = None
        self.in_break = False

    @classmethod
    async def make(cls, context: AioContext, id: str = "chardev0") -> MemoryChardev:
        """One that is open."""
        chardev = cls(ChardevOptions.model_validate({}), id, context)
        await chardev.open()
        return chardev

    @home
    def type(self, data: bytes) -> None:
        """Input; delivered as far as there is room, and the rest when there is."""
        self.untyped += data
        self.resume_input()

    @home
    def accept(self, limit: int | None = None) -> None:
        """The outside takes bytes again, up to ``limit`` in all."""
        self.limit = limit
        self.flush_unsent()

    def set_break(self, active: bool) -> None:
        self.in_break = active

    def transmit(self, data: bytes) -> int:
        taken = data if self.limit is None else data[: max(0, self.limit - len(self.sent))]
        self.sent += taken
        return len(taken)

    def resume_input(self) -> None:
        while self.untyped and (room := self.room()) > 0:
            data, self.untyped = self.untyped[:room], self.untyped[room:]
            self.deliver(data)
