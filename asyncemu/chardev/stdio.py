# SPDX-License-Identifier: GPL-2.0-or-later
"""stdio: the terminal that asyncemu runs in, or whatever its standard input and output are.

On a terminal: raw, with Ctrl-A commands. Otherwise (pipe, file, /dev/null) bytes go through unchanged, and the end of
the input is just that: output goes on.
"""

from __future__ import annotations

import os
from typing import ClassVar

from pydantic import Field

from asyncemu.chardev.chardev import Chardev, ChardevOptions
from asyncemu.chardev.descriptor import Sink, Source
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.chardev.inherited import InheritedDescriptor
from asyncemu.chardev.terminal import RawTerminal
from asyncemu.errors import ConfigError


class StdioOptions(ChardevOptions):
    """Keys of ``backend = "stdio"``. ``mux`` is on by default when standard input is a terminal."""

    signal: bool | None = Field(
        default=None,
        description="Ctrl-C, Ctrl-Z and Ctrl-\\ act on asyncemu and not on the guest; "
        "by default only where there is no Ctrl-A x (mux = false).",
    )


class Stdio(Chardev[StdioOptions], name="stdio"):
    """Standard input and output; one chardev of a process may have them."""

    description = "The terminal that asyncemu runs in, or its standard input and output."

    #: Tests give others.
    input_fd: ClassVar[int] = 0
    output_fd: ClassVar[int] = 1

    #: Who has them.
    _user: ClassVar[Stdio | None] = None

    _input: InheritedDescriptor | None = None
    _output: InheritedDescriptor | None = None
    _terminal: RawTerminal | None = None
    _sink: Sink | None = None
    _source: Source | None = None

    def is_mux(self) -> bool:
        return os.isatty(self.input_fd) if self.options.mux is None else self.options.mux

    async def connect(self) -> None:
        """Take standard input and output. Raises ConfigError when another chardev has them."""
        if Stdio._user is not None:
            problem = f"standard input and output belong to chardev {Stdio._user.id!r} already"
            raise ConfigError(f"chardev {self.id!r}", problem, "give one of the two another backend")
        Stdio._user = self
        self._input = _inherit(self.input_fd, os.O_RDONLY)
        self._output = _inherit(self.output_fd, os.O_WRONLY)
        if os.isatty(self.input_fd):
            signals = not self.is_mux() if self.options.signal is None else self.options.signal
            descriptors = [inherited for inherited in (self._input, self._output) if inherited is not None]
            self._terminal = RawTerminal(self.input_fd, signals, descriptors)
        if self._output is not None:
            self._sink = Sink(self, self._output.fd)
        if self._input is not None:
            self._source = Source(self, self._input.fd, on_end=lambda: None)
        self.event(ChardevEvent.OPENED)
        self.resume_input()

    def transmit(self, data: bytes) -> int:
        return self._sink.write(data) if self._sink is not None else len(data)

    def resume_input(self) -> None:
        if self._source is not None:
            self._source.resume()

    async def disconnect(self) -> None:
        """Restore the terminal, and let go."""
        if Stdio._user is self:
            Stdio._user = None
        if self._terminal is not None:
            self._terminal.leave()
        for user in (self._sink, self._source):
            if user is not None:
                user.close()
        for inherited in (self._input, self._output):
            if inherited is not None:
                inherited.close()
        self._terminal = self._sink = self._source = self._input = self._output = None


def _inherit(fd: int, access: int) -> InheritedDescriptor | None:
    """None when the process was started without it (``<&-``): no input, or nowhere for output."""
    try:
        return InheritedDescriptor(fd, access)
    except OSError:
        return None
