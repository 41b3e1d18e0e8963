# SPDX-License-Identifier: GPL-2.0-or-later
"""The device's side of a chardev: what a front end implements, and the port for exactly one of them."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from asyncemu.chardev.chardev import Chardev


class ChardevEvent(enum.Enum):
    """What happens to the other end. QEMU: CHR_EVENT_*."""

    OPENED = "opened"
    CLOSED = "closed"
    BREAK = "break"
    #: Several front ends share a chardev: what comes in is for this one from now on, or no longer.
    MUX_IN = "mux-in"
    MUX_OUT = "mux-out"


class Frontend(Protocol):
    """A device's end of a chardev. All methods are called in the chardev's home context."""

    def can_receive(self) -> int:
        """How many bytes it takes now; 0 stops the back end until ``Chardev.accept_input``."""

    def receive(self, data: bytes) -> None:
        """Bytes from the outside, at most ``can_receive()`` of them."""

    def chardev_event(self, event: ChardevEvent) -> None:
        """The other end came, went, or sent a break."""

    def writable(self) -> None:
        """``write`` takes bytes again, after it had not taken all."""


@runtime_checkable
class SwappableFrontend(Frontend, Protocol):
    """A front end whose back end can be replaced while it is connected (QEMU: ``chr_be_change``, chardev-change)."""

    def chardev_changed(self, chardev: Chardev[Any]) -> None:
        """``chardev`` is the back end from now on; nothing else is to be done."""


class FrontendPort(ABC):
    """Where front ends are plugged in: ``SinglePort``, or ``Mux`` for several and for Ctrl-A commands."""

    @property
    @abstractmethod
    def focus(self) -> Frontend | None:
        """The front end that gets what comes in."""

    @abstractmethod
    def attach(self, frontend: Frontend) -> None:
        """Plug in; ValueError when there is no place."""

    @abstractmethod
    def detach(self, frontend: Frontend | None) -> None:
        """Unplug; None is the one that has the focus."""

    @abstractmethod
    def room(self) -> int:
        """How many bytes ``deliver`` may be given now."""

    @abstractmethod
    def deliver(self, data: bytes) -> None:
        """Bytes from the outside, at most ``room()`` of them."""

    @abstractmethod
    def accept_input(self) -> None:
        """A front end has room again: hand over what waits here."""

    @abstractmethod
    def event(self, event: ChardevEvent) -> None:
        """Tell those whom it concerns."""

    @abstractmethod
    def writable(self) -> None:
        """Tell all that ``write`` takes bytes again."""

    @abstractmethod
    def decorate(self, data: bytes) -> bytes:
        """What goes to the outside when a front end writes ``data``."""


class SinglePort(FrontendPort):
    """One front end, met directly: no buffer, no parsing."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._frontend: Frontend | None = None

    @property
    def focus(self) -> Frontend | None:
        return self._frontend

    def attach(self, frontend: Frontend) -> None:
        if self._frontend is not None:
            raise ValueError(f"chardev {self._name!r} has a front end already; several share one with mux = true")
        self._frontend = frontend

    def detach(self, frontend: Frontend | None) -> None:
        if frontend is None or frontend is self._frontend:
            self._frontend = None

    def room(self) -> int:
        return self._frontend.can_receive() if self._frontend is not None else 0

    def deliver(self, data: bytes) -> None:
        if self._frontend is not None:
            self._frontend.receive(data)

    def accept_input(self) -> None:
        """Nothing waits here."""

    def event(self, event: ChardevEvent) -> None:
        if self._frontend is not None:
            self._frontend.chardev_event(event)

    def writable(self) -> None:
        if self._frontend is not None:
            self._frontend.writable()

    def decorate(self, data: bytes) -> bytes:
        return data
