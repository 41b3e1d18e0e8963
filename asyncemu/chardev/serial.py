# SPDX-License-Identifier: GPL-2.0-or-later
"""serial: a serial line of the host (termios(3)), at a fixed speed: the UART of the guest has none of its own.

The line is raw, and gets its settings back at the end. A break that the guest makes goes out; one that comes in is read
as a zero byte, which is what termios makes of it without BRKINT and PARMRK.
"""

from __future__ import annotations

import fcntl
import os
import termios
from typing import Any, Final, Literal

from pydantic import Field

from asyncemu.chardev.chardev import Chardev, ChardevOptions, logger
from asyncemu.chardev.descriptor import Sink, Source
from asyncemu.chardev.frontend import ChardevEvent
from asyncemu.errors import ConfigError
from asyncemu.host_path import HostPath
from asyncemu.loop import home

# ioctl_tty(2); Python's termios does not name these two.
_TIOCSBRK: Final = 0x5427
_TIOCCBRK: Final = 0x5428

#: In bits a second: those that termios has a constant for.
SPEEDS: Final[dict[int, int]] = {
    int(name[1:]): constant for name, constant in vars(termios).items() if name[:1] == "B" and name[1:].isdigit()
}
_DATA_BITS: Final = {5: termios.CS5, 6: termios.CS6, 7: termios.CS7, 8: termios.CS8}
_PARITIES: Final = {"none": 0, "even": termios.PARENB, "odd": termios.PARENB | termios.PARODD}


class SerialOptions(ChardevOptions):
    """Keys of ``backend = "serial"``; QEMU has ``path`` only, and 115200 8N1 for the rest."""

    path: HostPath = Field(description="The line: /dev/ttyS0, /dev/ttyUSB0.")
    speed: int = Field(default=115200, description="Bits a second.")
    parity: Literal["none", "even", "odd"] = Field(default="none", description="Parity bit.")
    data_bits: Literal[5, 6, 7, 8] = Field(default=8, description="Bits a character.")
    stop_bits: Literal[1, 2] = Field(default=1, description="Stop bits a character.")


def line_attributes(attributes: list[Any], options: SerialOptions) -> list[Any]:
    """``attributes`` (of termios.tcgetattr) changed to a raw line with the parameters of ``options``."""
    input_flags, output_flags, control, local, _, _, characters = attributes
    speed = SPEEDS[options.speed]
    input_flags &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON | termios.IXOFF
    )  # fmt: skip
    output_flags &= ~termios.OPOST
    local &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN | termios.ISIG)
    control &= ~(termios.CSIZE | termios.PARENB | termios.PARODD | termios.CSTOPB | termios.CRTSCTS)
    control |= _DATA_BITS[options.data_bits] | _PARITIES[options.parity] | termios.CREAD | termios.CLOCAL
    if options.stop_bits == 2:
        control |= termios.CSTOPB
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [input_flags, output_flags, control, local, speed, speed, characters]


class Serial(Chardev[SerialOptions], name="serial"):
    """A line that is pulled out counts as closed."""

    description = "A serial line of the host, such as /dev/ttyUSB0."

    _fd = -1
    _original: list[Any] | None = None
    _sink: Sink | None = None
    _source: Source | None = None

    async def connect(self) -> None:
        """Open the line and set it up. Raises ConfigError, ChardevError."""
        path = self.options.path
        if self.options.speed not in SPEEDS:
            known = ", ".join(str(speed) for speed in sorted(SPEEDS) if speed)
            raise ConfigError(f"chardev {self.id!r}", f"no line runs at {self.options.speed} bits a second", known)
        try:
            # O_NONBLOCK: without it, open waits for a carrier.
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            raise self.failed(error, f"open {path}") from error
        try:
            self._original = termios.tcgetattr(self._fd)
            termios.tcsetattr(self._fd, termios.TCSANOW, line_attributes(self._original, self.options))
        except termios.error as error:
            raise ConfigError(f"chardev {self.id!r}", f"{path} is no serial line: {error.args[-1]}") from error
        self._sink = Sink(self, self._fd)
        self._source = Source(self, self._fd, on_end=lambda: self.event(ChardevEvent.CLOSED))
        self.event(ChardevEvent.OPENED)
        self.resume_input()

    @property
    def filename(self) -> str:
        """As query-chardev shows it in QEMU, by either name."""
        return "serial"

    def transmit(self, data: bytes) -> int:
        return self._sink.write(data) if self._sink is not None else len(data)

    def resume_input(self) -> None:
        if self._source is not None:
            self._source.resume()

    @home
    def set_break(self, active: bool) -> None:
        """See Chardev."""
        if self._fd < 0:
            return
        try:
            fcntl.ioctl(self._fd, _TIOCSBRK if active else _TIOCCBRK)
        except OSError as error:
            logger.error("%s", self.failed(error, "make a break"))

    async def disconnect(self) -> None:
        """Give the line its settings back, and close it."""
        for user in (self._sink, self._source):
            if user is not None:
                user.close()
        self._sink = self._source = None
        if self._fd < 0:
            return
        if self._original is not None:
            try:
                termios.tcsetattr(self._fd, termios.TCSANOW, self._original)
            except termios.error:
                pass  # it was pulled out
            self._original = None
        os.close(self._fd)
        self._fd = -1


class Tty(Serial, name="tty"):
    """QEMU's other name for it."""
