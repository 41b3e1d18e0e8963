# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-console: consoles and named ports on chardevs (virtio 1.2, 5.3).

Port 0 is the console of ``chardev``. ``ports`` adds more, and with them the MULTIPORT feature: a pair of queues each,
and a pair of control queues in which device and driver tell each other about ports.
"""

from __future__ import annotations

import struct
from collections import deque
from ctypes import LittleEndianStructure, c_uint16, c_uint32
from typing import Annotated, Any, Final

from pydantic import Field

from asyncemu.chardev import Chardev
from asyncemu.devices import Environment
from asyncemu.errors import AsyncemuError, GuestError
from asyncemu.loop import AioContext, home
from asyncemu.options import Options
from asyncemu.plugins import Reference
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.console_port import ConsolePort
from asyncemu.virtio.device import VirtioDevice
from asyncemu.virtio.options import VirtioOptions
from asyncemu.virtio.queue_declaration import QueueDeclaration

# Features: 5.3.3.
F_MULTIPORT: Final = 1 << 1
F_EMERGENCY_WRITE: Final = 1 << 2

# Control events: 5.3.6.2.
DEVICE_READY: Final = 0
PORT_ADD: Final = 1
PORT_READY: Final = 3
CONSOLE_PORT: Final = 4
PORT_OPEN: Final = 6
PORT_NAME: Final = 7

QUEUE_SIZE: Final = 128
MAX_PORTS: Final = 31
#: Control messages that wait for the driver's buffers. It gets at most a handful a port; one that provides no buffers
#: and keeps asking gets no more.
MAX_CONTROL_BACKLOG: Final = 8 * (MAX_PORTS + 1)

_control = struct.Struct("<IHH")


class ConsoleConfig(LittleEndianStructure):
    """5.3.4."""

    _pack_ = 1
    _fields_ = (("cols", c_uint16), ("rows", c_uint16), ("max_nr_ports", c_uint32), ("emerg_wr", c_uint32))


class PortOptions(Options):
    """One more port."""

    chardev: Annotated[str, Reference("chardev"), Field(description="Where its bytes go and come from.")]
    name: str = Field(default="", max_length=64, description="Shown to the guest in /dev/virtio-ports.")
    console: bool = Field(default=False, description="The guest may use it as a console (hvc1 and on).")


class ConsoleOptions(VirtioOptions):
    """Options of virtio-console."""

    chardev: Annotated[str, Reference("chardev"), Field(description="The console's bytes (hvc0 in the guest).")] = ""
    ports: list[PortOptions] = Field(
        default=[], max_length=MAX_PORTS, description="Ports besides the console: name, chardev, console."
    )


class VirtioConsole(VirtioDevice[ConsoleOptions], name="virtio-console", device_id=3):
    """Console, and named ports beside it."""

    description = "Console, and named ports beside it."

    chardev: Chardev[Any] | None = None
    Config = ConsoleConfig

    def __init__(self, options: ConsoleOptions, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        self.ports: list[ConsolePort] = []
        self._control_backlog: deque[bytes] = deque()

    def features(self) -> int:
        return F_EMERGENCY_WRITE | (F_MULTIPORT if self.options.ports else 0)

    def declare_queues(self) -> list[QueueDeclaration]:
        """5.3.2: port 0, control, port 1 and on; of each the receive queue comes first."""

        def pair(name: str, handler: Any) -> list[QueueDeclaration]:
            return [
                QueueDeclaration(f"{name}-receiveq", QUEUE_SIZE),
                QueueDeclaration(f"{name}-transmitq", QUEUE_SIZE, handler, on_reset="cancel"),
            ]

        queues = pair("port0", self._transmit_on(0))
        if self.options.ports:
            queues += pair("control", VirtioConsole._control_message)
            for number in range(1, len(self.options.ports) + 1):
                queues += pair(f"port{number}", self._transmit_on(number))
        return queues

    async def realize(self) -> None:
        self.config.max_nr_ports = len(self.options.ports) + 1
        lookup = self.environment.lookup
        chardevs = [self.chardev, *(lookup("chardev", port.chardev) for port in self.options.ports)]
        for number, chardev in enumerate(chardevs):
            port = ConsolePort(self, number, chardev, self.buffer_queues[f"port{number}-receiveq"])
            self.ports.append(port)
            if chardev is not None:
                chardev.attach(port)
        if self.options.ports:
            self.buffer_queues["control-receiveq"].on_available = self._send_control_backlog
        self.config_changed()

    def activated(self) -> None:
        # Without MULTIPORT the port is simply there; with it, the driver opens it (5.3.6.1).
        for port in self.ports:
            port.guest_open = not self.has(F_MULTIPORT)
            port.resume()

    def before_reset(self) -> None:
        self._control_backlog.clear()
        for port in self.ports:
            port.guest_open = port.guest_ready = False

    async def unrealize(self) -> None:
        await super().unrealize()
        for port in self.ports:
            port.detach()

    async def before_move(self, context: AioContext) -> None:
        if any(port.chardev is not None for port in self.ports):
            raise AsyncemuError(f"{self.id}: can't move to {context.name}, as chardevs can't; set iothread in vm.toml")

    def write_config(self, offset: int, data: bytes) -> None:
        if offset == ConsoleConfig.emerg_wr.offset and self.chardev is not None:
            # 5.3.4: works before the driver is up; one character, lost when the chardev is full.
            self.chardev.write(data[:1])

    def _transmit_on(self, number: int) -> Any:
        async def transmitq(device: VirtioConsole, request: Chain) -> None:
            request.written = 0
            if request.spans:
                raise GuestError("a transmit buffer that the device may write")
            await device.ports[number].transmit(request.readable)

        return transmitq

    # ---- control queues: 5.3.6.2

    async def _control_message(self, request: Chain) -> None:
        """A message of the driver."""
        request.written = 0
        if request.readable.nbytes < _control.size:
            raise GuestError(f"a control message of {request.readable.nbytes} bytes")
        number, event, value = _control.unpack(request.readable.take(_control.size))
        if event == DEVICE_READY:
            if value:
                for port in self.ports:
                    self._send_control(port.number, PORT_ADD, 1)
        elif number >= len(self.ports):
            self.log.info("control event %d for port %d, which does not exist", event, number)
        elif event == PORT_READY:
            if value:
                self._port_ready(self.ports[number])
        elif event == PORT_OPEN:
            self.ports[number].guest_open = bool(value)
            self.ports[number].resume()

    def _port_ready(self, port: ConsolePort) -> None:
        port.guest_ready = True
        options = self.options.ports[port.number - 1] if port.number else None
        if options is None or options.console:
            self._send_control(port.number, CONSOLE_PORT, 1)
        if options is not None and options.name:
            self._send_control(port.number, PORT_NAME, 1, options.name.encode())
        if port.host_open:
            self.host_opened(port)

    @home
    def host_opened(self, port: ConsolePort) -> None:
        """The outside of a port came or went: the guest sees it as open or hung up."""
        if port.guest_ready:
            self._send_control(port.number, PORT_OPEN, int(port.host_open))

    def _send_control(self, number: int, event: int, value: int, data: bytes = b"") -> None:
        if len(self._control_backlog) < MAX_CONTROL_BACKLOG:
            self._control_backlog.append(_control.pack(number, event, value) + data)
        self._send_control_backlog()

    def _send_control_backlog(self) -> None:
        queue = self.buffer_queues["control-receiveq"]
        while self._control_backlog and (chain := queue.pop()) is not None:
            chain.written = chain.writable.write(self._control_backlog.popleft())
            queue.give_back(chain)
