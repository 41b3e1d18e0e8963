# SPDX-License-Identifier: GPL-2.0-or-later
"""The netdev tap: its options, and its queues."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import Field, field_validator, model_validator

from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.loop import AioContext, Clocks
from asyncemu.net.backend import NetBackend
from asyncemu.net.frame import Frames
from asyncemu.net.port import NetPort
from asyncemu.net.tap.device import CLONE_DEVICE, NAME_SIZE, TapDevice, given_tap, open_tap, set_send_buffer
from asyncemu.net.tap.queue import TapQueue
from asyncemu.net.tap.scripts import open_by_helper, run_script
from asyncemu.options import Options
from asyncemu.size import Size

logger: Final = logging.getLogger("asyncemu.net")

#: Scripts that are run where there are such files and nothing else is said. QEMU: DEFAULT_NETWORK_SCRIPT.
UP_SCRIPT: Final = Path("/etc/qemu-ifup")
DOWN_SCRIPT: Final = Path("/etc/qemu-ifdown")

#: QEMU: MAX_TAP_QUEUES is 1024; our devices have 64 queue pairs at most.
MAX_QUEUES: Final = 64

#: The send buffer's size where nothing is said: as much as there is.
_UNLIMITED: Final = (1 << 31) - 1


class TapOptions(Options):
    """Options of tap; QEMU's names."""

    ifname: str = Field(default="", description="Name of the interface; default: tap0, tap1... whatever is free.")
    fd: int | None = Field(default=None, ge=0, le=(1 << 31) - 1, description="Number of an open tap device.")
    fds: str | None = Field(default=None, description="Several of them, one for each queue: 3:4:5.")
    queues: int | None = Field(default=None, ge=1, le=MAX_QUEUES, description="Queue pairs of the device (default: 1).")
    script: str | None = Field(
        default=None, description=f'Run with the interface\'s name (default: {UP_SCRIPT} if it is there); "no": none.'
    )
    downscript: str | None = Field(
        default=None, description=f'The same at the end (default: {DOWN_SCRIPT} if it is there); "no": none.'
    )
    br: str | None = Field(default=None, description="With helper: the bridge to join (default: br0).")
    helper: str | None = Field(default=None, description="Program that opens the tap device for us.")
    vnet_hdr: bool | None = Field(
        default=None, alias="vnet_hdr", description="Let guest and host leave sums and segments to each other."
    )
    sndbuf: Size | None = Field(default=None, description="Bytes on their way into the host; default: no limit.")

    @field_validator("ifname")
    @classmethod
    def _fits(cls, name: str) -> str:
        if len(os.fsencode(name)) >= NAME_SIZE:
            raise ValueError(f"{name[:60]!r} is longer than {NAME_SIZE - 1} bytes")
        return name

    @field_validator("fds")
    @classmethod
    def _are_numbers(cls, fds: str | None) -> str | None:
        numbers = fds.split(":") if fds is not None else ["0"]
        if not all(each.isascii() and each.isdecimal() and len(each) < 10 for each in numbers):
            raise ValueError("write the numbers of open descriptors with colons in between")
        if len(numbers) > MAX_QUEUES:
            raise ValueError(f"{len(numbers)} descriptors are more than {MAX_QUEUES}")
        return fds

    @model_validator(mode="after")
    def _consistent(self) -> TapOptions:
        own = {"ifname", "script", "downscript", "vnet_hdr", "helper", "queues", "br", "sndbuf"}
        for given, excluded in (
            ("fd", own - {"sndbuf"} | {"fds"}),
            ("fds", own - {"sndbuf"}),
            ("helper", {"ifname", "script", "downscript", "queues"}),
        ):
            if getattr(self, given) is not None and (others := sorted(excluded & self.model_fields_set)):
                raise ValueError(f"{others[0]} is not for a tap device with {given}")
        if self.br is not None and self.helper is None:
            raise ValueError("br is only for helper")
        return self

    def queue_count(self) -> int:
        """Ports of the netdev."""
        return self.fds.count(":") + 1 if self.fds is not None else self.queues or 1


class _TapPort(NetPort):
    """The end of one more queue pair."""

    has_vnet_header = True

    queue: TapQueue | None = None

    def receive(self, frames: Frames) -> int:
        return self.queue.transmit(frames) if self.queue is not None else len(frames)

    def writable(self) -> None:
        if self.queue is not None:
            self.queue.writable()

    def peer_offloads(self, checksum: bool, tcpv4: bool, tcpv6: bool, ecn: bool, udp: bool) -> None:
        if self.queue is not None:
            self.queue.set_offload(checksum, tcpv4, tcpv6, ecn, udp)


class Tap(NetBackend[TapOptions], name="tap"):
    """``interface`` is its name, once it is open."""

    description = "A network device of the host."

    has_vnet_header = True

    def __init__(self, options: TapOptions, id: str, context: AioContext, clocks: Clocks) -> None:
        super().__init__(options, id, context, clocks)
        self.interface = ""
        self._more = [_TapPort(f"{id}.{index}", context) for index in range(1, options.queue_count())]
        self._queues: list[TapQueue] = []
        self._script_ran = False

    @property
    def ports(self) -> tuple[NetPort, ...]:
        return (self, *self._more)

    async def connect(self) -> None:
        taps = await self._open_all()
        self._queues = [TapQueue(port, tap) for port, tap in zip(self.ports, taps, strict=True)]
        for more, queue in zip(self._more, self._queues[1:], strict=True):
            more.queue = queue
        self.interface = taps[0].name
        for tap in taps:
            self._limit(tap)
        if self._ours():
            await self._run_script(self.options.script, UP_SCRIPT)
            self._script_ran = True
        for port, queue in zip(self.ports, self._queues, strict=True):
            await port.context.call(_at_home(queue.start))

    def _ours(self) -> bool:
        """Did we open it ourselves? Else whoever did has set it up."""
        return self.options.fd is None and self.options.fds is None and self.options.helper is None

    async def _open_all(self) -> list[TapDevice]:
        options = self.options
        if options.fd is not None or options.fds is not None:
            numbers = [options.fd] if options.fd is not None else [int(each) for each in (options.fds or "").split(":")]
            return self._open_each([partial(self._given, number) for number in numbers])
        want_header = options.vnet_hdr is not False
        if options.helper is not None:
            bridge = options.br or "br0"
            run = self.context.worker_pool.run
            fd = await run(open_by_helper, options.helper, bridge, want_header, self.id)
            return self._open_each([partial(self._adopted, fd)])
        count = options.queue_count()
        several = count > 1
        taps = self._open_each([partial(open_tap, options.ifname, want_header, several)])
        name = taps[0].name
        return taps + self._open_each([partial(open_tap, name, want_header, several)] * (count - 1), taps)

    def _open_each(self, opens: list[Callable[[], TapDevice]], before: Sequence[TapDevice] = ()) -> list[TapDevice]:
        """All or none of them."""
        taps: list[TapDevice] = []
        try:
            for each in opens:
                tap = each()
                taps.append(tap)
                if self.options.vnet_hdr and not tap.vnet_header:
                    raise ConfigError(self.id, f"{tap.name} has no headers of virtio-net", "set vnet_hdr = false")
        except BaseException as error:
            for tap in (*before, *taps):
                os.close(tap.fd)
            if isinstance(error, OSError):
                raise self._why_not(error) from error
            raise
        return taps

    def _given(self, number: int) -> TapDevice:
        try:
            fd = os.dup(number)
        except OSError as error:
            raise ConfigError(self.id, f"fd {number}: {error.strerror}") from error
        return self._adopted(fd, f"fd {number}")

    def _adopted(self, fd: int, called: str = "what the bridge helper opened") -> TapDevice:
        try:
            return given_tap(fd)
        except OSError as error:
            os.close(fd)
            raise ConfigError(self.id, f"{called} is not a tap device") from error

    def _why_not(self, error: OSError) -> AsyncemuError:
        if error.filename == CLONE_DEVICE:
            return self.failed(error, f"open {CLONE_DEVICE}")
        name = self.options.ifname
        problem = f"open tap device {name}".rstrip() + f": {error.strerror}"
        made = f"ip tuntap add dev {name or 'tap0'} mode tap user USER"
        if len(self.ports) > 1:
            made += " multi_queue"
        remedy = {
            errno.EPERM: f"have root make it: {made}",
            errno.EBUSY: "somebody else uses it",
            errno.EINVAL: "it is of another kind, with fewer or more queues; or that is no name for one",
        }
        return ConfigError(self.id, problem, remedy.get(error.errno or 0, ""))

    def _limit(self, tap: TapDevice) -> None:
        nbytes = self.options.sndbuf or _UNLIMITED
        try:
            set_send_buffer(tap.fd, min(nbytes, _UNLIMITED))
        except OSError as error:
            if self.options.sndbuf:
                raise self.failed(error, f"set the send buffer of {tap.name}") from error

    async def _run_script(self, script: str | None, default: Path) -> None:
        script = _chosen(script, default)
        if script:
            await self.context.worker_pool.run(run_script, script, self.interface, self.id)

    async def disconnect(self) -> None:
        if self._script_ran:
            self._script_ran = False
            try:
                await self._run_script(self.options.downscript, DOWN_SCRIPT)
            except ConfigError as error:
                logger.error("%s", error)
        for port, queue in zip(self.ports, self._queues, strict=False):
            await port.context.call(_at_home(queue.close))

    def summary(self) -> str:
        options = self.options
        if options.helper is not None:
            return f"tap,helper={options.helper}"
        if options.fd is not None or options.fds is not None:
            return f"tap,fd={options.fds or options.fd}"
        scripts = (options.script, UP_SCRIPT), (options.downscript, DOWN_SCRIPT)
        up, down = (_chosen(script, default) or "no" for script, default in scripts)
        return f"tap,ifname={self.interface},script={up},downscript={down}"

    def transmit(self, frames: Frames) -> int:
        return self._queues[0].transmit(frames) if self._queues else len(frames)

    def writable(self) -> None:
        if self._queues:
            self._queues[0].writable()

    def peer_offloads(self, checksum: bool, tcpv4: bool, tcpv6: bool, ecn: bool, udp: bool) -> None:
        if self._queues:
            self._queues[0].set_offload(checksum, tcpv4, tcpv6, ecn, udp)


def _chosen(script: str | None, default: Path) -> str:
    """Path of the script to run; empty: none."""
    if script is None:
        return str(default) if default.exists() else ""
    return "" if script == "no" else script


def _at_home(action: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def act() -> None:
        action()

    return act
