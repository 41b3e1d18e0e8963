# SPDX-License-Identifier: GPL-2.0-or-later
"""ChardevSet: the character back ends of a machine by their ids, and what the monitor does with them.

Home: the machine's. Each back end has a home of its own, where its user lives; it is opened, changed and closed there.
Messages are QEMU's (chardev/char.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

from asyncemu import author_errors
from asyncemu.chardev.chardev import Chardev
from asyncemu.chardev.escape import MuxCommand
from asyncemu.chardev.frontend import SwappableFrontend
from asyncemu.chardev.ringbuf import Ringbuf
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.loop import AioContext, any_thread, home
from asyncemu.plugin_options import Configured

if TYPE_CHECKING:
    from asyncemu.tls_credentials import TlsCredentials


class ChardevRefused(AsyncemuError):
    """What was asked of a back end can't be done with it, or there is none of that name; nothing has happened."""


class ChardevSet(Mapping[str, Chardev[Any]]):
    """``on_command`` and ``tls_credentials`` are handed to each back end that is added."""

    def __init__(self, context: AioContext) -> None:
        self.context = context
        self.on_command: Callable[[MuxCommand], object] | None = None
        self.tls_credentials: Mapping[str, TlsCredentials] = {}
        self._chardevs: dict[str, Chardev[Any]] = {}
        #: Ids of those that are being opened, changed or closed.
        self._under_way: set[str] = set()

    # ---- Mapping: what is open

    def __getitem__(self, id: str) -> Chardev[Any]:
        return self._chardevs[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._chardevs)

    def __len__(self) -> int:
        return len(self._chardevs)

    # ---- coming and going

    @home
    async def add(self, configured: Configured, where: str = "", context: AioContext | None = None) -> Chardev[Any]:
        """Make and open one, at home in ``context`` (default: the machine's). Returns when it is open.

        Raises ConfigError of ``where``, ChardevRefused.
        """
        name = configured.identity
        if name in self._chardevs or name in self._under_way:
            raise ChardevRefused(f"Chardev with id '{name}' already exists")
        where = where or f"chardev {name!r}"
        chardev = self._make(configured, context or self.context, where)
        self._under_way.add(name)
        try:
            await _open(chardev, where)
        finally:
            self._under_way.remove(name)
        self._chardevs[name] = chardev
        return chardev

    def _make(self, configured: Configured, context: AioContext, where: str) -> Chardev[Any]:
        try:
            chardev = cast("type[Chardev[Any]]", configured.plugin)(configured.options, configured.identity, context)
        except Exception as error:
            author_errors.raise_as_config_error(where, error)
            raise
        chardev.on_command = self.on_command
        chardev.tls_credentials = self.tls_credentials
        return chardev

    @home
    async def remove(self, id: str) -> None:
        """Close one that has no front end. Raises ChardevRefused."""
        chardev = self._find(id)
        if chardev.frontend_open or id in self._under_way:
            raise ChardevRefused(f"Chardev '{id}' is busy")
        del self._chardevs[id]
        self._under_way.add(id)
        try:
            await chardev.context.call(chardev.close)
        finally:
            self._under_way.remove(id)

    @home
    async def change(self, id: str, configured: Configured) -> Chardev[Any]:
        """Put another back end in the place of ``id``; its front end stays, and goes on with the new one.

        When the new one can't be opened, the old one stays if it has a front end, and is gone otherwise.
        Raises ConfigError, ChardevRefused.
        """
        old = self._chardevs.get(id)
        if old is None:
            raise ChardevRefused(f"Chardev '{id}' does not exist")
        if id in self._under_way:
            raise ChardevRefused(f"Chardev '{id}' is busy")
        if old.is_mux():
            raise ChardevRefused("Mux device hotswap not supported yet")
        configured = configured._replace(identity=id)
        if not old.frontend_open:
            await self.remove(id)
            return await self.add(configured, context=old.context)
        if not isinstance(old.frontend, SwappableFrontend):
            raise ChardevRefused("Chardev user does not support chardev hotswap")
        where = f"chardev {id!r}"
        new = self._make(configured, old.context, where)
        self._under_way.add(id)
        try:
            await _open(new, where)
            self._chardevs[id] = new
            await old.context.call(lambda: _swap(old, new))
        finally:
            self._under_way.remove(id)
        return new

    @home
    async def close(self) -> None:
        """Close all, the last one first; also when one of them fails."""
        async with AsyncExitStack() as stack:
            for chardev in self._chardevs.values():
                stack.push_async_callback(chardev.context.call, chardev.close)

    # ---- what the monitor asks of one

    @home
    async def send_break(self, id: str) -> None:
        """The front end of ``id`` hears a break. Raises ChardevRefused."""
        chardev = self._find(id)

        async def send() -> None:
            chardev.send_break()

        await chardev.context.call(send)

    @home
    async def ringbuf_write(self, id: str, data: bytes) -> None:
        """QMP: ringbuf-write. Raises ChardevRefused."""
        ringbuf = self._ringbuf(id)

        async def put() -> None:
            ringbuf.put(data)

        await ringbuf.context.call(put)

    @home
    async def ringbuf_read(self, id: str, size: int) -> bytes:
        """QMP: ringbuf-read; up to ``size`` bytes. Raises ChardevRefused."""
        ringbuf = self._ringbuf(id)
        if size <= 0:
            raise ChardevRefused("size must be greater than zero")

        async def take() -> bytes:
            return ringbuf.take(size)

        return await ringbuf.context.call(take)

    def _find(self, id: str) -> Chardev[Any]:
        if id not in self._chardevs:
            raise ChardevRefused(f"Chardev '{id}' not found")
        return self._chardevs[id]

    def _ringbuf(self, id: str) -> Ringbuf:
        chardev = self._chardevs.get(id)
        if chardev is None:
            raise ChardevRefused(f"Device '{id}' not found")
        if not isinstance(chardev, Ringbuf):
            raise ChardevRefused(f"{id} is not a ringbuf device")
        return chardev

    # ---- yank: out of band

    @any_thread
    def yankable(self) -> list[str]:
        """Ids of those whose connection can be ended at once. QMP: query-yank, instances of type chardev."""
        return [chardev.id for chardev in list(self._chardevs.values()) if chardev.can_yank]

    @any_thread
    def yank(self, id: str) -> None:
        """End the connection of ``id`` soon. KeyError: it is not one of ``yankable``."""
        chardev = self._chardevs[id]
        if not chardev.can_yank:
            raise KeyError(id)
        chardev.context.schedule_oneshot(chardev.yank)


async def _open(chardev: Chardev[Any], where: str) -> None:
    try:
        await chardev.context.call(chardev.open)
    except ConfigError as error:
        # It names itself by its id, which is not where the user finds it in vm.toml.
        raise ConfigError(where, error.problem, error.remedy) from error
    except (AsyncemuError, OSError) as error:
        raise ConfigError(where, str(error)) from error


async def _swap(old: Chardev[Any], new: Chardev[Any]) -> None:
    """At their home."""
    if isinstance(old.frontend, SwappableFrontend):  # it may have gone meanwhile
        old.hand_over(new)
    await old.close()
