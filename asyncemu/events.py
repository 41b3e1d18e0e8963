# SPDX-License-Identifier: GPL-2.0-or-later
"""Events of a machine: what happened, typed, with QEMU's names; and the bus that tells those who want to know.

    class Reset(Event, name="RESET"):
        guest: bool

    bus.emit(Reset(guest=True))             # any thread
    unsubscribe = bus.subscribe(listener)   # at home; listener(occurrence) is called at home, in the order of emission

Events that belong to one device or layer are defined beside it; here are those of the machine as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

from asyncemu.loop import AioContext, any_thread, home
from asyncemu.wire_model import WireModel


class Event(WireModel):
    """Base of all events; the fields are the event's data. A subclass without ``name`` is abstract."""

    #: What QMP calls it.
    wire_name: ClassVar[str] = ""
    #: All kinds of events that are imported, by that name.
    registry: ClassVar[dict[str, type[Event]]] = {}
    #: At most one in this time goes to QMP clients, the last of those held back follows; ns. 0: all go.
    rate_limit_ns: ClassVar[int] = 0

    def __init_subclass__(cls, *, name: str = "", **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        cls.wire_name = name
        if name:
            cls.registry[name] = cls

    def rate_limit_key(self) -> str:
        """Events of one kind with the same key are limited together (QEMU: by id, or by node)."""
        return ""


class Occurrence(NamedTuple):
    """An event and when it was emitted."""

    event: Event
    #: Wall clock, ns since 1970.
    time_ns: int


Listener = Callable[[Occurrence], object]


class EventBus:
    """Home: the machine's main context."""

    def __init__(self, context: AioContext) -> None:
        self.context = context
        self._listeners: tuple[Listener, ...] = ()

    @any_thread
    def emit(self, event: Event) -> None:
        """Tell all listeners: at once when called at home, soon otherwise."""
        if not self._listeners:
            return
        occurrence = Occurrence(event, time.time_ns())
        if self.context.in_home():
            self._tell(occurrence)
        else:
            self.context.schedule_oneshot(lambda: self._tell(occurrence))

    @home
    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have ``listener`` called from now on. The result ends that; at home, and it may be called again."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

        return unsubscribe

    def _tell(self, occurrence: Occurrence) -> None:
        for listener in self._listeners:
            listener(occurrence)


# ---- the machine's own

#: QEMU: ShutdownCause.
ShutdownCause = Literal[
    "none",
    "host-error",
    "host-qmp-quit",
    "host-qmp-system-reset",
    "host-signal",
    "host-ui",
    "guest-shutdown",
    "guest-reset",
    "guest-panic",
    "subsystem-reset",
]


class Shutdown(Event, name="SHUTDOWN"):
    """The machine ends, or would, if it was not told to stay."""

    guest: bool
    reason: ShutdownCause


class GuestPanicked(Event, name="GUEST_PANICKED"):
    """The guest says that it has failed."""

    action: Literal["pause", "poweroff", "run"]


class DeviceDeleted(Event, name="DEVICE_DELETED"):
    """A device has been taken out, after device_del."""

    #: Its id; None: it had none.
    device: str | None = None
    #: Where it was in the tree of objects (QOM).
    path: str


class Powerdown(Event, name="POWERDOWN"):
    """The guest was asked to power off."""


class Reset(Event, name="RESET"):
    """The machine begins anew."""

    guest: bool
    reason: ShutdownCause


class Stop(Event, name="STOP"):
    """The guest stands still."""


class Resume(Event, name="RESUME"):
    """The guest runs again."""
