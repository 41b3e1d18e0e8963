# SPDX-License-Identifier: GPL-2.0-or-later
"""What machines can tell when a test fails: the ends of their consoles, what threads did, what held loops up."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from asyncemu.api import Machine, NoConsole
from asyncemu.tracing import tracer
from asyncemu.tracing.stall import Stall, StallDetector
from asyncemu.tracing.summary import summarize
from asyncemu.tracing.summary_text import render

#: Of a console, what a failed test shows: lines.
CONSOLE_LINES: Final = 40

#: Events that are recorded of each thread: some last seconds of a machine that is busy (arbitrary).
TRACE_EVENTS: Final = 4096

#: Rows of each thread in the summary.
TRACE_ROWS: Final = 5

#: A callback that holds a loop for longer is shown: a guest's interrupt is late then, too. ns.
STALL_NS: Final = 100_000_000

#: Stalls that are shown: the last ones.
STALLS: Final = 20


class Watch:
    """``with Watch() as watch``: records within. The thread of the machines' main loop."""

    def __init__(self) -> None:
        self._machines: list[Machine] = []
        self._stalls: list[Stall] = []
        self._detector = StallDetector(STALL_NS, self._stalled)
        self._tracing = False

    def __enter__(self) -> Watch:
        # Somebody else's recording goes on.
        if not tracer.on:
            tracer.start(TRACE_EVENTS)
            self._tracing = True
        self._detector.start()
        return self

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._detector.close()
        if self._tracing:
            tracer.stop()

    def add(self, machine: Machine) -> None:
        """Watch this machine, which runs."""
        for context in machine.parts.contexts():
            name = f"{len(self._machines)}: {context.name}"
            self._detector.watch(name, context.thread_ident, context.schedule_oneshot)
        self._machines.append(machine)

    def sections(self) -> list[tuple[str, str]]:
        """(headline, text) of all that there is to tell."""
        return [*self._consoles(), *self._trace(), *self._held()]

    def _consoles(self) -> list[tuple[str, str]]:
        found = []
        for index, machine in enumerate(self._machines):
            try:
                tail = machine.console.tail
            except NoConsole:
                continue
            found.append((f"console of machine {index}", "\n".join(tail.splitlines()[-CONSOLE_LINES:])))
        return found

    def _trace(self) -> list[tuple[str, str]]:
        if not self._tracing or not self._machines:
            return []
        summary = summarize(tracer.tracks(), TRACE_ROWS)
        return [("what the machines' threads did", "\n".join(render(summary, TRACE_ROWS)))]

    def _held(self) -> list[tuple[str, str]]:
        if not self._stalls:
            return []
        return [("stalls", "\n".join(str(stall) for stall in self._stalls[-STALLS:]))]

    def _stalled(self, stall: Stall) -> None:
        """In the watchdog's thread; appending is one step under the GIL."""
        self._stalls.append(stall)
