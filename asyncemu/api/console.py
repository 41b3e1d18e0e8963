# SPDX-License-Identifier: GPL-2.0-or-later
"""Console: a guest's terminal as a program sees it: what it wrote, what is expected of it, what is typed.

    await vm.console.expect("login: ")
    vm.console.send_line("root")
    match = await vm.console.expect(re.compile(r"load average: (\\S+),"))

The guest never waits for the program: its output is read as it comes and kept, up to KEPT characters, of which
``expect`` takes what it has seen. ``tail`` is what it wrote last, taken or not.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from typing import Final

from asyncemu.chardev.python import Pair
from asyncemu.errors import AsyncemuError

#: Characters that wait for ``expect``, and characters of ``tail``. Arbitrary: some 10,000 lines, and 800.
KEPT: Final = 1 << 20
TAIL: Final = 1 << 16

#: How long ``expect`` waits when it is not told, in seconds. Arbitrary: a guest boots in less on a slow host.
DEFAULT_TIMEOUT: Final = 60.0

#: Lines of output that an error shows.
_SHOWN_LINES: Final = 5

_CHUNK: Final = 1 << 16


class ConsoleError(AsyncemuError):
    """Base of what ``expect`` raises; the message ends with the last lines of output."""


class ConsoleTimeout(ConsoleError):
    """What was expected did not come in time."""


class ConsoleEnded(ConsoleError):
    """What was expected did not come, and can't any more: the machine has ended."""


class KeptText:
    """The last ``limit`` characters. A UART's output comes in small pieces, which are joined when somebody looks."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: list[str] = []
        self._length = 0

    def __len__(self) -> int:
        """Characters that are held now: less than twice the limit and one piece."""
        return self._length

    def append(self, text: str) -> None:
        """Add a piece."""
        self._pieces.append(text)
        self._length += len(text)
        if self._length > 2 * self._limit:
            self.whole()

    def whole(self) -> str:
        """All that is kept."""
        if len(self._pieces) != 1 or self._length > self._limit:
            self._pieces = ["".join(self._pieces)[-self._limit :]]
            self._length = len(self._pieces[0])
        return self._pieces[0]

    def drop(self, count: int) -> None:
        """Forget the first ``count`` characters of ``whole()``."""
        self._pieces = [self.whole()[count:]]
        self._length = len(self._pieces[0])


class Console:
    """Home: the loop that it was made on."""

    def __init__(self, pair: Pair) -> None:
        self.timeout = DEFAULT_TIMEOUT
        self._pair = pair
        # A guest may write a character in two pieces, or what is no UTF-8 at all.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._pending = KeptText(KEPT)
        self._tail = KeptText(TAIL)
        self._ended = ""
        self._changed = asyncio.Event()
        self._reading = asyncio.get_running_loop().create_task(self._read())

    # ---- what the guest wrote

    @property
    def tail(self) -> str:
        """The last TAIL characters of all output."""
        return self._tail.whole()

    @property
    def pending(self) -> str:
        """Output that no ``expect`` has taken."""
        return self._pending.whole()

    async def expect(self, pattern: str | re.Pattern[str], timeout: float | None = None) -> re.Match[str]:
        """Wait for ``pattern`` (text, or a compiled regular expression) in the output; take all up to its end.

        ``timeout`` in seconds; None: ``self.timeout``. One caller at a time. Raises ConsoleTimeout, ConsoleEnded.
        """
        compiled = re.compile(re.escape(pattern)) if isinstance(pattern, str) else pattern
        seconds = self.timeout if timeout is None else timeout
        try:
            async with asyncio.timeout(seconds):
                while (match := compiled.search(self._pending.whole())) is None:
                    if self._ended:
                        raise ConsoleEnded(f"no {compiled.pattern!r}, and {self._ended}{self._last_lines()}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise ConsoleTimeout(f"no {compiled.pattern!r} within {seconds:g} s{self._last_lines()}") from None
        self._pending.drop(match.end())
        return match

    def _last_lines(self) -> str:
        lines = self.tail.splitlines()[-_SHOWN_LINES:]
        if not lines:
            return "; the guest has written nothing"
        return "; the output ends with:" + "".join(f"\n  {line}" for line in lines)

    # ---- what is typed

    def send(self, text: str | bytes) -> None:
        """Type; what the guest does not take at once waits. Raises ChardevError when the machine is closed."""
        self._pair.write(text.encode() if isinstance(text, str) else text)

    def send_line(self, text: str = "") -> None:
        """Type a line, and Enter."""
        self.send(text + "\n")

    # ---- for the machine's owner

    def discard(self) -> None:
        """The guest begins anew: what it has written so far is nothing to ``expect``."""
        self._heard(self._pair.read_nowait())
        self._pending.drop(KEPT)

    async def end(self, reason: str) -> None:
        """No more output comes: ``expect`` says so with ``reason``. Returns when what has come is read."""
        self._reading.cancel()
        await asyncio.wait([self._reading])
        self._heard(self._pair.read_nowait())
        self._ended = self._ended or reason
        self._changed.set()

    async def _read(self) -> None:
        while data := await self._pair.read(_CHUNK):
            self._heard(data)
        self._ended = "the console is closed"
        self._changed.set()

    def _heard(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        self._pending.append(text)
        self._tail.append(text)
        self._changed.set()
