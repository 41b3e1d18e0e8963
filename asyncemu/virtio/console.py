# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-console: consoles and named ports on chardevs (virtio 1.2, 5.3).

Port 0 is the console of ``chardev``. ``ports`` adds more, and with them the MULTIPORT feature: a pair of queues each,
and a pair of control queues in which device and driver tell each other about ports. With ``max-ports`` there are queues
for ports that come and go while the guest runs.
"""

from __future__ import annotations

import struct
from collections import deque
from ctypes import LittleEndianStructure, c_uint16, c_uint32
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from asyncemu.chardev import Chardev
from asyncemu.devices import Environment
from asyncemu.errors import AsyncemuError, GuestError
from asyncemu.events import Event
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
PORT_REMOVE: Final = 2
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


class VserportChange(Event, name="VSERPORT_CHANGE"):
    """The guest has opened or closed a port."""

    rate_limit_ns = 1_000_000_000

    #: The port's.
    id: str
    open: bool

    def rate_limit_key(self) -> str:
        return self.id


class PortOptions(Options):
    """One more port."""

    chardev: Annotated[str, Reference("chardev"), Field(description="Where its bytes go and come from.")]
    id: str = Field(default="", max_length=63, description="What events (VSERPORT_CHANGE) call it; none without.")
    name: str = Field(default="", max_length=64, description="Shown to the guest in /dev/virtio-ports.")
    console: bool = Field(default=False, description="The guest may use it as a console (hvc1 and on).")


class ConsoleOptions(VirtioOptions):
    """Options of virtio-console."""

    chardev: Annotated[str, Reference("chardev"), Field(description="The console's bytes (hvc0 in the guest).")] = ""
    ports: list[PortOptions] = Field(
        default=[], max_length=MAX_PORTS, description="Ports besides the console: name, chardev, console."
    )
    max_ports: int = Field(
        default=0,
        ge=0,
        le=MAX_PORTS,
        description="Ports that there may be, plugged in at run time too, the console included; 0: those given.",
    )

    @model_validator(mode="after")
    def _room(self) -> ConsoleOptions:
        if self.max_ports and self.max_ports <= len(self.ports):
            raise ValueError(f"max-ports {self.max_ports} is too few for the console and {len(self.ports)} ports")
        return self

    @property
    def port_count(self) -> int:
        """Ports that there may be."""
        return self.max_ports or len(self.ports) + 1


class VirtioConsole(VirtioDevice[ConsoleOptions], name="virtio-console", device_id=3):
    """Console, and named ports beside it."""

    description = "Console, and named ports beside it."

    chardev: Chardev[Any] | None = None
    Config = ConsoleConfig

    def __init__(self, options: ConsoleOptions, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        #: By number.
        self.ports: dict[int, ConsolePort] = {}
        #: The driver has said that it is ready to hear of ports.
        self._driver_ready = False
        self._control_backlog: deque[bytes] = deque()

    def features(self) -> int:
        return F_EMERGENCY_WRITE | (F_MULTIPORT if self.options.port_count > 1 else 0)

    def declare_queues(self) -> list[QueueDeclaration]:
        """5.3.2: port 0, control, port 1 and on; of each the receive queue comes first."""

        def pair(name: str, handler: Any) -> list[QueueDeclaration]:
            return [
                QueueDeclaration(f"{name}-receiveq", QUEUE_SIZE),
                QueueDeclaration(f"{name}-transmitq", QUEUE_SIZE, handler, on_reset="cancel"),
            ]

        queues = pair("port0", self._transmit_on(0))
        if self.options.port_count > 1:
            queues += pair("control", VirtioConsole._control_message)
            for number in range(1, self.options.port_count):
                queues += pair(f"port{number}", self._transmit_on(number))
        return queues

    async def realize(self) -> None:
        self.config.max_nr_ports = self.options.port_count
        lookup = self.environment.lookup
        self._make_port(0, None, self.chardev)
        for number, options in enumerate(self.options.ports, 1):
            self._make_port(number, options, lookup("chardev", options.chardev))
        if self.options.port_count > 1:
            self.buffer_queues["control-receiveq"].on_available = self._send_control_backlog
        self.config_changed()

    def _make_port(self, number: int, options: PortOptions | None, chardev: Chardev[Any] | None) -> ConsolePort:
        port = ConsolePort(self, number, options, chardev, self.buffer_queues[f"port{number}-receiveq"])
        self.ports[number] = port
        if chardev is not None:
            chardev.attach(port)
        return port

    # ---- ports that come and go

    @home
    def add_port(self, number: int, options: PortOptions, chardev: Chardev[Any] | None) -> None:
        """Plug a port in, whose number is free and below ``port_count``; the driver is told (5.3.6.2)."""
        self._make_port(number, options, chardev)
        if self._driver_ready:
            self._send_control(number, PORT_ADD, 1)

    @home
    def remove_port(self, number: int) -> None:
        """Take a port out; the driver is told, and takes its buffers back itself."""
        port = self.ports.pop(number)
        port.detach()
        if self._driver_ready:
            self._send_control(number, PORT_REMOVE, 1)

    # ---- life with a driver

    def activated(self) -> None:
        # Without MULTIPORT the port is simply there; with it, the driver opens it (5.3.6.1).
        for port in self.ports.values():
            port.guest_open = not self.has(F_MULTIPORT)
            port.resume()

    def before_reset(self) -> None:
        self._control_backlog.clear()
        self._driver_ready = False
        for port in self.ports.values():
            port.guest_ready = False
            self._guest_opens(port, False)

    async def unrealize(self) -> None:
        await super().unrealize()
        for port in self.ports.values():
            port.detach()

    async def before_move(self, context: AioContext) -> None:
        if any(port.chardev is not None for port in self.ports.values()):
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
            # A port that is gone: what the driver had sent to it is gone, too.
            if number in device.ports:
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
            self._driver_ready = bool(value)
            for port in self.ports.values() if value else ():
                self._send_control(port.number, PORT_ADD, 1)
        elif number not in self.ports:
            self.log.info("control event %d for port %d, which does not exist", event, number)
        elif event == PORT_READY:
            if value:
                self._port_ready(self.ports[number])
        elif event == PORT_OPEN:
            self._guest_opens(self.ports[number], bool(value))
            self.ports[number].resume()

    def _guest_opens(self, port: ConsolePort, opened: bool) -> None:
        changed = port.guest_open != opened
        port.guest_open = opened
        if changed and port.id:
            self.environment.platform.emit(VserportChange(id=port.id, open=opened))

    def _port_ready(self, port: ConsolePort) -> None:
        port.guest_ready = True
        options = port.options
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
