# SPDX-License-Identifier: GPL-2.0-or-later
"""pipe: two FIFOs that somebody has made, PATH.in for input and PATH.out for output; or one, PATH, for both.

They are opened for both ways, as in QEMU: nobody need be there at the other end, and who leaves is no end of input.
"""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from asyncemu.chardev.chardev import Chardev, ChardevOptions
from asyncemu.chardev.descriptor import Sink, Source
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.host_path import HostPath


class PipeOptions(ChardevOptions):
    """Keys of ``backend = "pipe"``."""

    path: HostPath = Field(description="The FIFOs are PATH.in and PATH.out, or else PATH is one for both ways.")


class Pipe(Chardev[PipeOptions], name="pipe"):
    """What nobody reads fills the FIFO, and then the front end waits."""

    description = "FIFOs: PATH.in for input and PATH.out for output, or one for both."

    _input = -1
    _output = -1
    _sink: Sink | None = None
    _source: Source | None = None

    async def connect(self) -> None:
        """Open the FIFOs. Raises ChardevError."""
        path = self.options.path
        try:
            self._input = _open(Path(f"{path}.in"))
            self._output = _open(Path(f"{path}.out"))
        except FileNotFoundError:
            self._close()
            self._input = self._open_both_ways(path)
            self._output = os.dup(self._input)
        except OSError as error:
            raise self.failed(error, f"open {error.filename}") from error
        self._sink = Sink(self, self._output)
        self._source = Source(self, self._input, on_end=lambda: None)
        self.event(ChardevEvent.OPENED)
        self.resume_input()

    def _open_both_ways(self, path: Path) -> int:
        try:
            return _open(path)
        except FileNotFoundError as error:
            raise self.failed(error, f"open {path}.in and {path}.out, or {path}") from error
        except OSError as error:
            raise self.failed(error, f"open {path}") from error

    def transmit(self, data: bytes) -> int:
        return self._sink.write(data) if self._sink is not None else len(data)

    def resume_input(self) -> None:
        if self._source is not None:
            self._source.resume()

    async def disconnect(self) -> None:
        """Close the FIFOs."""
        for user in (self._sink, self._source):
            if user is not None:
                user.close()
        self._sink = self._source = None
        self._close()

    def _close(self) -> None:
        for fd in (self._input, self._output):
            if fd >= 0:
                os.close(fd)
        self._input = self._output = -1


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
