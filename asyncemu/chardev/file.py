# SPDX-License-Identifier: GPL-2.0-or-later
"""file: output into a file, and on demand input from another."""

from __future__ import annotations

import os

from pydantic import Field

from asyncemu.chardev.chardev import Chardev, ChardevOptions
from asyncemu.chardev.descriptor import Sink, Source
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.host_path import HostPath


class FileOptions(ChardevOptions):
    """Keys of ``backend = "file"``."""

    path: HostPath = Field(description="File that gets all output; a FIFO needs its reader there already.")
    append: bool = Field(default=False, description="Append to the file rather than begin it anew.")
    input_path: HostPath | None = Field(default=None, description="File that input comes from.")


class File(Chardev[FileOptions], name="file"):
    """Output is in the page cache when ``write`` returns; a full disk loses the rest, with one line in the log."""

    description = "Output into a file, and input from another one."

    _output = -1
    _input = -1
    _sink: Sink | None = None
    _source: Source | None = None

    async def connect(self) -> None:
        """Open the files. Raises ChardevError."""
        append = os.O_APPEND if self.options.append else os.O_TRUNC
        self._output = self._open(self.options.path, os.O_WRONLY | os.O_CREAT | append)
        self._sink = Sink(self, self._output)
        if self.options.input_path is not None:
            self._input = self._open(self.options.input_path, os.O_RDONLY)
            self._source = Source(self, self._input, on_end=lambda: None)
        self.event(ChardevEvent.OPENED)
        self.resume_input()

    def _open(self, path: HostPath, flags: int) -> int:
        try:
            # O_NONBLOCK: a FIFO that nobody reads is an error and not a hang.
            fd = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise self.failed(error, f"open {path}") from error
        return fd

    def transmit(self, data: bytes) -> int:
        return self._sink.write(data) if self._sink is not None else len(data)

    def resume_input(self) -> None:
        if self._source is not None:
            self._source.resume()

    async def disconnect(self) -> None:
        """Close the files."""
        for user in (self._sink, self._source):
            if user is not None:
                user.close()
        for fd in (self._output, self._input):
            if fd >= 0:
                os.close(fd)
        self._output = self._input = -1
        self._sink = self._source = None
