# SPDX-License-Identifier: GPL-2.0-or-later
"""VirtioDevice: what an author of a virtio device writes, and the runtime behind it.

    class Reverse(VirtioDevice[Options], name="reverse", device_id=63):
        '''Answers each request with its bytes reversed.'''

        @virtqueue(size=64)
        async def requestq(self, request: Chain) -> None:
            request.written = request.writable.write(request.readable.tobytes()[::-1])

The runtime owns queues, concurrency, reset, interrupts and errors. Life of the home side (virtio 1.2, 2.1 and 3.1):

              activate (DRIVER_OK)               GuestError in a queue or handler
    INACTIVE ----------------------> ACTIVE -----------------------------------------> BROKEN (NEEDS_RESET)
        ^                              |                                                  |
        +------------ reset -----------+-------------------- reset -----------------------+
"""

from __future__ import annotations

import ctypes
import enum
from typing import Any, ClassVar, Protocol, TypeVar

from asyncemu import author_errors
from asyncemu.coroutines import reschedule_self
from asyncemu.devices import Device, Environment
from asyncemu.errors import AsyncemuError, GuestError
from asyncemu.loop import AioContext, PostedQueue, any_thread, home
from asyncemu.options import Options
from asyncemu.virtio.defs import F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1
from asyncemu.virtio.options import with_virtio_options
from asyncemu.virtio.queue_declaration import QueueDeclaration, declared_queues
from asyncemu.virtio.runner import BufferQueue, HandlerRunner, QueueRunner
from asyncemu.virtio.split_queue import SplitQueue

OptionsT = TypeVar("OptionsT", bound=Options, covariant=True)


class State(enum.Enum):
    """See the module's head."""

    INACTIVE = "inactive"
    ACTIVE = "active"
    BROKEN = "broken"


class Transport(Protocol):
    """How a device reaches its driver. Any thread."""

    def interrupt_queue(self, index: int) -> None:
        """Used buffers have been published in queue ``index``."""

    def interrupt_config(self) -> None:
        """The configuration space has changed."""

    def needs_reset(self) -> None:
        """Set NEEDS_RESET and tell the driver: 2.1.2."""

    def set_config(self, config: bytes) -> None:
        """What the driver reads in the configuration space from now on."""


class NoConfig(ctypes.LittleEndianStructure):
    """The configuration space of a device that has none."""

    _fields_ = ()


class VirtioDevice(Device[OptionsT]):
    """Base of all virtio devices. ``device_id`` is the number of chapter 5."""

    device_id: ClassVar[int] = 0
    #: Feature bits of the device type that are always offered; override ``features`` where options decide.
    FEATURES: ClassVar[int] = 0
    #: Layout of the configuration space.
    Config: ClassVar[type[ctypes.LittleEndianStructure]] = NoConfig
    queue_declarations: ClassVar[tuple[QueueDeclaration, ...]] = ()

    #: Set by the transport when it takes the device.
    transport: Transport

    def __init_subclass__(cls, *, name: str = "", device_id: int = 0, **arguments: Any) -> None:
        super().__init_subclass__(name=name, **arguments)
        cls.options_type = with_virtio_options(cls.options_type)
        if device_id:
            cls.device_id = device_id
        # By name: a subclass that declares a queue of its base again replaces it, in its place.
        declarations = {each.name: each for each in (*cls.queue_declarations, *declared_queues(cls))}
        cls.queue_declarations = tuple(declarations.values())

    def __init__(self, options: OptionsT, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        self.state = State.INACTIVE
        #: What the driver accepted; 0 before activation.
        self.negotiated = 0
        self.config: Any = self.Config()
        self.buffer_queues: dict[str, BufferQueue] = {}
        self.queues: list[QueueRunner] = []

    # ---- for authors

    @any_thread
    def features(self) -> int:
        """Feature bits of the device type that are offered: vCPU threads ask, and the answer does not change."""
        return self.FEATURES

    @home
    def declare_queues(self) -> list[QueueDeclaration]:
        """The device's queues, in order; override where options decide more than ``count`` can say."""
        queues: list[QueueDeclaration] = []
        for declaration in self.queue_declarations:
            count = getattr(self.options, declaration.count) if declaration.count else 1
            queues.extend([declaration] * count)
        return queues

    @home
    def activated(self) -> None:
        """The driver is ready: queues are served from now on."""

    @home
    def queue_context(self, index: int) -> AioContext:
        """Where queue ``index`` is served; override to spread the queues. Asked when they are made."""
        return self.context

    @home
    async def before_move(self, context: AioContext) -> None:
        """The device is to live in ``context``: bring what it uses there. At its old home; no request is in flight.

        AsyncemuError: it can't, and the device stays.
        """

    @home
    def before_reset(self) -> None:
        """A reset begins: release what requests in flight may wait for, and forget chains of buffer queues."""

    @home
    def write_config(self, offset: int, data: bytes) -> None:
        """The driver has written ``data`` into the configuration space; most of it is read-only, and ignored."""

    @home
    def config_changed(self) -> None:
        """``self.config`` has new values: show and tell the driver."""
        self.transport.set_config(bytes(self.config))
        if self.state is State.ACTIVE:
            self.transport.interrupt_config()

    @any_thread
    def has(self, feature: int) -> bool:
        """Has ``feature`` (a bit mask) been negotiated?"""
        return bool(self.negotiated & feature)

    # ---- for transports

    @property
    def offered_features(self) -> int:
        """All feature bits, the queue's own included."""
        return self.features() | F_VERSION_1 | F_INDIRECT_DESC | F_EVENT_IDX

    @home
    def connect(self, transport: Transport) -> None:
        """Take the transport; makes the queues. After the device's references are set, before ``realize``."""
        self.transport = transport
        for index, declaration in enumerate(self.declare_queues()):
            self.queues.append(self._make_runner(index, declaration))

    def _make_runner(self, index: int, declaration: QueueDeclaration) -> QueueRunner:
        name = f"{self.id}.{declaration.name}" if self.id else declaration.name

        def interrupt() -> None:
            self.transport.interrupt_queue(index)

        size = declaration.size if isinstance(declaration.size, int) else getattr(self.options, declaration.size)
        context = self.queue_context(index)
        if declaration.handler is None:
            buffers = BufferQueue(context, name, size, interrupt, self.failed)
            self.buffer_queues[declaration.name] = buffers
            return buffers
        handler = declaration.handler.__get__(self, type(self))
        return HandlerRunner(context, name, size, interrupt, self.failed, handler, declaration.on_reset)

    @home
    def activate(self, negotiated: int, queues: dict[int, SplitQueue]) -> None:
        """DRIVER_OK: the driver has accepted ``negotiated`` and set ``queues`` up."""
        if self.state is not State.INACTIVE:
            return
        self.negotiated = negotiated
        self.state = State.ACTIVE
        for index, queue in queues.items():
            self.queues[index].activate(queue)
        self.activated()

    @home
    def start_queue(self, index: int, queue: SplitQueue) -> None:
        """The driver has set one more queue up after DRIVER_OK."""
        if self.state is State.ACTIVE:
            self.queues[index].activate(queue)

    @home
    async def stop_queue(self, index: int) -> None:
        """The driver takes one queue back; returns when nothing of it is in flight."""
        await self.queues[index].deactivate()

    @home
    async def reset(self) -> None:
        """Status 0, or the machine's reset: returns when no request is in flight and no memory will be touched."""
        # All of them first: while one finishes its requests, another must not begin new ones.
        for queue in self.queues:
            queue.stop()
        try:
            self.before_reset()
        except Exception as error:
            # Queues must come to rest whatever an author's code does.
            author_errors.report_or_raise(f"{self.id}: before_reset", error)
        for queue in self.queues:
            await queue.deactivate()
        self.negotiated = 0
        self.state = State.INACTIVE

    @home
    async def unrealize(self) -> None:
        await self.reset()

    @any_thread
    async def quiesce(self) -> None:
        """Begin no request until ``resume``, and return when none is in flight. Nests. QEMU: drained_begin."""
        for queue in self.queues:
            await queue.quiesce()

    @any_thread
    async def resume(self) -> None:
        """The other end of ``quiesce``. QEMU: drained_end."""
        for queue in self.queues:
            await queue.resume()

    @home
    async def move(self, context: AioContext, posted: PostedQueue) -> None:
        """Live in ``context`` from now on; for the transport, as an entry of ``posted``. See VirtioMmio.move."""
        home = self.context
        await self.quiesce()
        try:
            await self.before_move(context)
            for queue in self.queues:
                if queue.context is home:
                    queue.move(context)
            posted.move(context)
            await reschedule_self(context)
            self.context = context
        finally:
            await self.resume()

    @any_thread
    def failed(self, error: BaseException) -> None:
        """A queue or a handler raised: the device is broken until it is reset, and says so once."""
        if not self.context.in_home():
            # From a queue with a home of its own.
            self.context.schedule_oneshot(lambda: self.failed(error))
            return
        if self.state is State.BROKEN:
            return
        self.state = State.BROKEN
        if isinstance(error, GuestError):
            self.log.warning("guest error: %s; the device needs a reset", error)
        elif isinstance(error, AsyncemuError):
            self.log.error("%s; the device needs a reset", error)
        else:
            message = f"request handler of {self!r}"
            self.context.loop.call_exception_handler({"message": message, "exception": error})
        for queue in self.queues:
            queue.stop()
        self.transport.needs_reset()
