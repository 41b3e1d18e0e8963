# SPDX-License-Identifier: GPL-2.0-or-later
"""Device: what all device models have in common, whatever bus they are on.

Life cycle, all at home:

    constructed --realize--> in use <--reset--> in use --unrealize--> gone

Attributes that options refer to (``drive``, ``chardev``) are set between construction and ``realize``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeVar

from asyncemu import coroutines
from asyncemu.events import Event
from asyncemu.loop import AioContext, Clocks, HasHome, PostedQueue, any_thread, home
from asyncemu.memory import AddressSpace
from asyncemu.net.mac import MacAddresses
from asyncemu.options import Options
from asyncemu.plugins import Plugin

OptionsT = TypeVar("OptionsT", bound=Options, covariant=True)


class Platform(Protocol):
    """What a device may ask of the machine as a whole. Any thread."""

    def request_shutdown(self, failed: bool) -> None:
        """Power off; ``failed`` when the guest says that something is wrong."""

    def request_reset(self) -> None:
        """Reboot."""

    def request_io_error_stop(self) -> None:
        """Stop, as a back end can't go on; whoever removes the cause lets the machine go on. QEMU: io-error."""

    def emit(self, event: Event) -> None:
        """Tell those who control the machine what has happened."""


@dataclass(frozen=True, slots=True)
class Environment:
    """What the runtime gives to every device."""

    #: The device's home.
    context: AioContext
    #: The guest's memory, for DMA.
    memory: AddressSpace
    #: The machine's clocks; guest time is ``clocks.virtual``.
    clocks: Clocks
    platform: Platform
    #: ``lookup("chardev", id)`` and the like: an object that an option deep inside the device's own refers to.
    lookup: Callable[[str, str], Any]
    #: Ethernet addresses of the machine's devices.
    mac_addresses: MacAddresses = field(default_factory=MacAddresses)


class Device(Plugin[OptionsT], HasHome):
    """Base of all device models."""

    kind = "device"
    #: One line for `asyncemu devices`; the first line of the class docstring where empty.
    description: ClassVar[str] = ""

    def __init__(self, options: OptionsT, id: str, environment: Environment) -> None:
        self.options = options
        self.id = id
        self.environment = environment
        self.context = environment.context
        self.memory = environment.memory
        self.clocks = environment.clocks
        #: Where it is in the tree of objects; the machine says so of those that are not the board's own.
        self.qom_path = f"/machine/unattached/{id}"
        self.log = logging.getLogger(f"asyncemu.{self.name or type(self).__name__}.{id}")

    @home
    async def realize(self) -> None:
        """Get ready for the guest. Raises ConfigError."""

    @home
    async def unrealize(self) -> None:
        """The machine is going away: nothing of this device may run afterwards."""

    @home
    async def reset(self) -> None:
        """Back to the state of power-on."""

    @any_thread
    def posted_queue(self, on_error: Callable[[BaseException], None]) -> PostedQueue:
        """A queue for what vCPU threads post to this device's home; ``on_error`` gets what it raises."""

        def start_in_place(body: Coroutine[Any, Any, Any], done: Callable[[], None]) -> bool:
            suspended = False

            def ended(coroutine: coroutines.Coroutine[Any]) -> None:
                if coroutine.error is not None:
                    on_error(coroutine.error)
                if suspended:
                    done()

            suspended = not coroutines.start(self.context, body, ended).done()
            return not suspended

        return PostedQueue(self.context, start_in_place, on_error)

    @home
    async def wait_posted(self, posted: PostedQueue) -> None:
        """Return when all is done that has been posted; at once when the queue is closed."""
        if posted.idle:
            return
        done: asyncio.Future[None] = self.context.loop.create_future()

        def passed() -> None:
            if not done.done():
                done.set_result(None)

        posted.post(passed)
        await done

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"
