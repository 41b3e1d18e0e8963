# SPDX-License-Identifier: GPL-2.0-or-later
"""Monitor: what commands see of the connection that they came by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from asyncemu.loop import home

if TYPE_CHECKING:
    from asyncemu.loop import AioContext
    from asyncemu.monitor.descriptors import NamedDescriptors


class Monitor(Protocol):
    """One of a machine's monitors, whatever it speaks."""

    @property
    def id(self) -> str:
        """Its name in vm.toml, or one made up."""


@runtime_checkable
class DescriptorHolder(Protocol):
    """A monitor whose client can hand over file descriptors."""

    context: AioContext
    descriptors: NamedDescriptors

    @home
    async def take_descriptor(self) -> int | None:
        """One that came with what the client sent last; the caller's. None: none came."""
