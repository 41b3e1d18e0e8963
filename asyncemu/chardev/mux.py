# SPDX-License-Identifier: GPL-2.0-or-later
"""Mux: several front ends on one chardev, and Ctrl-A commands in what comes in.

What comes in goes to the front end that has the focus; Ctrl-A c hands the focus on, in the order of attachment. What
front ends write goes out as it comes. Input is read ahead into a small buffer per front end, so that Ctrl-A x is heard
while a guest does not read its console, or before there is a front end at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from asyncemu.chardev.escape import HELP_TEXT, EscapeParser, MuxCommand
from asyncemu.chardev.frontend import ChardevEvent, Frontend, FrontendPort

#: Bytes read ahead for a front end that takes none: what a Linux terminal holds for a slow reader (N_TTY_BUF_SIZE).
READ_AHEAD: Final = 4096


class _Seat:
    """A front end and what waits for it."""

    __slots__ = ("frontend", "waiting")

    def __init__(self, frontend: Frontend | None) -> None:
        self.frontend = frontend
        self.waiting = bytearray()

    def flush(self) -> None:
        if self.frontend is None:
            return
        while self.waiting and (room := self.frontend.can_receive()) > 0:
            # Taken out first: the front end may ask for more from within receive().
            data = bytes(self.waiting[:room])
            del self.waiting[:room]
            self.frontend.receive(data)


class Mux(FrontendPort):
    """The port that ``mux = true`` gives a chardev.

    ``say`` shows the user a text; ``command`` is told what only the machine can do (QUIT, SAVE). ``clock`` is in ns.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        command: Callable[[MuxCommand], None],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._say = say
        self._command = command
        self._clock = clock
        self._parser = EscapeParser()
        # Holds what is typed before anybody is there.
        self._vacant = _Seat(None)
        self._seats: list[_Seat] = []
        self._focus = self._vacant
        self._timestamps = False
        self._timestamps_from: int | None = None
        self._line_start = False

    # ---- front ends

    @property
    def focus(self) -> Frontend | None:
        return self._focus.frontend

    def attach(self, frontend: Frontend) -> None:
        """The first one gets the focus, and what was typed before it came."""
        seat = _Seat(frontend)
        self._seats.append(seat)
        if self._focus is self._vacant:
            seat.waiting, self._vacant.waiting = self._vacant.waiting, seat.waiting
            self._focus = seat

    def detach(self, frontend: Frontend | None) -> None:
        """Forget it and what waits for it; the next one gets the focus."""
        leaving = self._focus if frontend is None else self._seat_of(frontend)
        if leaving is None or leaving is self._vacant:
            return
        position = self._seats.index(leaving)
        self._seats.remove(leaving)
        if leaving is self._focus:
            self._focus = self._seats[position % len(self._seats)] if self._seats else self._vacant
            if self._focus.frontend is not None:
                self._focus.frontend.chardev_event(ChardevEvent.MUX_IN)

    def _seat_of(self, frontend: Frontend) -> _Seat | None:
        return next((seat for seat in self._seats if seat.frontend is frontend), None)

    def switch(self) -> bool:
        """Hand the focus on to the next front end; False when there is no other."""
        if len(self._seats) < 2:
            return False
        old = self._focus
        new = self._seats[(self._seats.index(old) + 1) % len(self._seats)]
        self._focus = new
        for seat, event in ((old, ChardevEvent.MUX_OUT), (new, ChardevEvent.MUX_IN)):
            if seat.frontend is not None:
                seat.frontend.chardev_event(event)
        return True

    # ---- what comes in

    def room(self) -> int:
        return max(0, READ_AHEAD - len(self._focus.waiting))

    def deliver(self, data: bytes) -> None:
        for action in self._parser.feed(data):
            if isinstance(action, bytes):
                self._focus.waiting += action
                self._focus.flush()
            else:
                self._obey(action)

    def accept_input(self) -> None:
        for seat in list(self._seats):
            seat.flush()

    def _obey(self, command: MuxCommand) -> None:
        match command:
            case MuxCommand.HELP:
                self._say(HELP_TEXT)
            case MuxCommand.BREAK:
                self.event(ChardevEvent.BREAK)
            case MuxCommand.SWITCH:
                if not self.switch():
                    self._say("nothing to switch to: this machine has no monitor here")
            case MuxCommand.TIMESTAMPS:
                self._timestamps = not self._timestamps
                self._timestamps_from = None
                self._line_start = False
            case MuxCommand.QUIT | MuxCommand.SAVE:
                self._command(command)

    # ---- what goes out

    def event(self, event: ChardevEvent) -> None:
        """A break is for the one with the focus, the rest for all."""
        if event is ChardevEvent.CLOSED:
            # Half a command of a peer that left is not the next peer's.
            self._parser = EscapeParser()
        concerned = [self._focus] if event is ChardevEvent.BREAK else list(self._seats)
        for seat in concerned:
            if seat.frontend is not None:
                seat.frontend.chardev_event(event)

    def writable(self) -> None:
        """All are told: who of them was refused is not kept."""
        for seat in list(self._seats):
            if seat.frontend is not None:
                seat.frontend.writable()

    def decorate(self, data: bytes) -> bytes:
        """With time stamps: each line begins with the time since they were switched on, ``[hh:mm:ss.mmm]``."""
        if not self._timestamps or not data:
            return data
        stamp = self._stamp()
        lines = data.split(b"\n")
        # The text after the last newline belongs to the next line, which begins with what comes then.
        ends_line = not lines[-1]
        body = (b"\n" + stamp).join(lines[:-1] if ends_line else lines) + (b"\n" if ends_line else b"")
        if self._line_start:
            body = stamp + body
        self._line_start = ends_line
        return body

    def _stamp(self) -> bytes:
        now = self._clock()
        if self._timestamps_from is None:
            self._timestamps_from = now
        milliseconds = (now - self._timestamps_from) // 1_000_000
        seconds, milliseconds = divmod(milliseconds, 1000)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return b"[%02d:%02d:%02d.%03d] " % (hours, minutes, seconds, milliseconds)
