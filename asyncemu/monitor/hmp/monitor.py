# SPDX-License-Identifier: GPL-2.0-or-later
"""HumanMonitor: the human monitor on a chardev: a line editor in front, a session behind.

    chardev ──bytes──▶ LineEditor ──line──▶ Session (one line after the other)
       ▲                   │ echo              │ text
       └───── output ◀─────┴───────────────────┘

Nothing grows without bound: while a command runs, or output waits for the chardev to take it, no more is read of what
is typed; a command's output is bounded (session.py), and one command's output is all that can wait.

On a mux the monitor is one of several front ends. It greets when it gets the focus for the first time, and shows a new
prompt whenever it gets it again; what a command prints while another one has the focus waits until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from asyncemu import __version__
from asyncemu.chardev import Chardev, ChardevEvent
from asyncemu.loop import home
from asyncemu.monitor.hmp.completion import complete
from asyncemu.monitor.hmp.readline import Completing, Entered, LineEditor
from asyncemu.monitor.hmp.session import Session

if TYPE_CHECKING:
    from asyncemu.monitor.control import Control

#: Bytes of input that are taken at once.
READ_SIZE: Final = 1024

GREETING: Final = f"asyncemu {__version__} monitor - type 'help' for more information\n"


class HumanMonitor:
    """Home: the machine's, which is the chardev's, too. ``attach``, and ``close`` in the end. A Frontend."""

    def __init__(self, control: Control, chardev: Chardev[Any], id: str = "") -> None:
        self.context = control.context
        self.id = id
        self._chardev = chardev
        self._editor = LineEditor()
        self._session = Session(control, self._editor.history)
        self._input = bytearray()
        self._output = bytearray()
        #: What runs for the user: a command, or the search for completions.
        self._running: asyncio.Task[None] | None = None
        self._greeted = False
        self._hidden = False
        self._closed = False

    @home
    def attach(self) -> None:
        """Be the chardev's front end, or one of a mux's. ValueError: it has one already."""
        self._hidden = self._chardev.frontend is not None
        self._chardev.attach(self)

    @home
    async def close(self) -> None:
        """Leave the chardev; a command that runs is cancelled. Twice is once."""
        if self._closed:
            return
        self._closed = True
        self._chardev.detach(self)
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    # ---- Frontend

    @home
    def can_receive(self) -> int:
        """See Frontend."""
        if self._running is not None or self._output or self._hidden or self._closed:
            return 0
        return READ_SIZE - len(self._input)

    @home
    def receive(self, data: bytes) -> None:
        """See Frontend."""
        self._input += data
        self._advance()

    @home
    def chardev_event(self, event: ChardevEvent) -> None:
        """See Frontend."""
        match event:
            case ChardevEvent.OPENED:
                self._greeted = False
                self._start_anew()
                if not self._hidden:
                    self._show_prompt()
            case ChardevEvent.CLOSED:
                self._start_anew()
            case ChardevEvent.MUX_IN:
                self._hidden = False
                self._editor.restart()
                if self._running is None:
                    self._show_prompt()
                self._flush()
            case ChardevEvent.MUX_OUT:
                if self._running is None:
                    self._write("\n")
                self._hidden = True

    @home
    def writable(self) -> None:
        """See Frontend."""
        self._flush()
        self._advance()

    @home
    def chardev_changed(self, chardev: Chardev[Any]) -> None:
        """See SwappableFrontend."""
        self._chardev = chardev

    # ---- inside

    def _start_anew(self) -> None:
        """What one user typed, and has not read, is not the next one's."""
        self._editor.restart()
        self._input.clear()
        self._output.clear()

    def _show_prompt(self) -> None:
        if not self._greeted:
            self._greeted = True
            self._write(GREETING)
        self._editor.prompt()
        self._echo()

    def _advance(self) -> None:
        """Type what has come in, up to what makes the user wait."""
        while self._input and self._running is None and not self._output:
            byte = self._input.pop(0)
            match self._editor.feed(byte):
                case Entered(line):
                    self._echo()
                    self._begin(self._run(line))
                case Completing(text):
                    self._begin(self._complete(text))
            self._echo()
        if not self._input and self.can_receive():
            self._chardev.accept_input()

    def _begin(self, doing: Awaitable[Callable[[], None]]) -> None:
        """Do it, and show what comes of it; what is typed waits until then."""

        async def finish() -> None:
            try:
                show = await doing
            except Exception as error:
                # A bug, which the log tells of; the user may want to save the machine.
                problem = f"Error: internal error: {type(error).__name__}\n"
                self.context.loop.call_exception_handler({"message": "human monitor", "exception": error})
                show = self._shower(problem)
            self._running = None
            if not self._closed:
                show()
                self._advance()

        self._running = self.context.loop.create_task(finish())

    async def _run(self, line: str) -> Callable[[], None]:
        return self._shower(await self._session.run(line))

    def _shower(self, text: str) -> Callable[[], None]:
        def show() -> None:
            self._write(text)
            self._show_prompt()

        return show

    async def _complete(self, text: str) -> Callable[[], None]:
        word, choices = await complete(self._session, text)

        def show() -> None:
            self._editor.completed(word, choices)
            self._echo()

        return show

    # ---- output

    def _echo(self) -> None:
        self._write(self._editor.take_output())

    def _write(self, text: str) -> None:
        if text:
            self._output += text.replace("\n", "\r\n").encode(errors="replace")
            self._flush()

    def _flush(self) -> None:
        if self._output and not self._hidden:
            taken = self._chardev.write(bytes(self._output))
            del self._output[:taken]
