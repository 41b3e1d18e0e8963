# SPDX-License-Identifier: GPL-2.0-or-later
"""The types of objects that users create; see objects.py. QEMU has the same names and properties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from pydantic import Field

from asyncemu.block.drain import backends_of
from asyncemu.block.move import move_nodes
from asyncemu.block.nbd.tls import X509Credentials
from asyncemu.block.throttle.config import BUCKET_NAMES
from asyncemu.errors import BlockError
from asyncemu.host_path import HostPath
from asyncemu.loop import AioContext
from asyncemu.machine.iothreads import IOThreadOptions
from asyncemu.machine.objects import ObjectError, ObjectInUse, ObjectType
from asyncemu.machine.references import references
from asyncemu.machine.throttle_groups import ThrottleGroupOptions
from asyncemu.net import FilterOptions, NetFilter
from asyncemu.options import Options
from asyncemu.plain_options import AnyOptions
from asyncemu.plugin_options import Configured
from asyncemu.plugins import Plugin, find, names
from asyncemu.secret import read_secret

if TYPE_CHECKING:
    from asyncemu.machine.machine import Machine

#: Before the throttle group's older properties, one for each limit.
_OLDER: Final = "x-"


class IOThreads(ObjectType[IOThreadOptions]):
    """Threads with a loop for devices to live in."""

    name = "iothread"
    options_type = IOThreadOptions

    def ids(self) -> Iterable[str]:
        return self.machine.iothreads

    async def create(self, id: str, options: IOThreadOptions) -> None:
        await self.machine.add_iothread(id, options.parameters())

    async def delete(self, id: str) -> None:
        machine, iothread = self.machine, self.machine.iothreads[id]
        if self._is_named(id) or any(home is iothread.aio_context for home in _homes(machine)):
            raise ObjectInUse(id)
        # Nodes stay behind when their user has gone.
        for node in list(machine.block.nodes.values()):
            if node.context is iothread.aio_context:
                if backends_of([node]):
                    raise ObjectInUse(id)
                try:
                    await move_nodes(node, machine.context)
                except BlockError as error:
                    raise ObjectInUse(id) from error
        del machine.iothreads[id]
        await iothread.stop()

    def properties(self, id: str) -> Mapping[str, Any]:
        found = self.machine.iothreads[id].query()
        return {key: value for key, value in found.items() if key not in ("id", "thread-id", "statistics")}

    def _is_named(self, id: str) -> bool:
        """Does a device have it among its options, whatever it is doing there?"""
        return any(
            kind == "iothread" and name == id
            for device in self.machine.devices.values()
            for _, _, kind, name in references(device.options, "")
        )


def _homes(machine: Machine) -> Iterator[AioContext]:
    """Of all that may live in an iothread, but block nodes."""
    yield from (device.context for device in machine.devices.values())
    yield from (chardev.context for chardev in machine.chardevs.values())
    yield from (netfilter.context for netfilter in machine.net.filters.values())
    for netdev in machine.net.netdevs.values():
        yield from (port.context for port in (netdev, *netdev.ports))


class ThrottleGroups(ObjectType[ThrottleGroupOptions]):
    """Limits that several disks share."""

    name = "throttle-group"
    options_type = ThrottleGroupOptions

    def ids(self) -> Iterable[str]:
        return [group.name for group in self.machine.block.throttle_groups]

    async def create(self, id: str, options: ThrottleGroupOptions) -> None:
        groups, clocks = self.machine.block.throttle_groups, self.machine.clocks
        # As of those in vm.toml: a machine that is driven from outside has no time of its own.
        groups.clock = clocks.virtual if self.machine.options.qtest else clocks.realtime
        groups.add(id, options.limits.config("limits"), "throttle-group")

    async def delete(self, id: str) -> None:
        try:
            self.machine.block.throttle_groups.remove(id)
        except BlockError as error:
            raise ObjectInUse(id) from error

    def prepared(self, table: Mapping[str, Any]) -> Mapping[str, Any]:
        """With ``x-iops-total`` and the like among ``limits``, where they win."""
        older = {key.removeprefix(_OLDER): value for key, value in table.items() if key.startswith(_OLDER)}
        if not older:
            return table
        limits = table.get("limits", {})
        if not isinstance(limits, Mapping):
            raise ObjectError("Invalid parameter type for 'limits', expected: object")
        rest = {key: value for key, value in table.items() if not key.startswith(_OLDER)}
        return {**rest, "limits": {**limits, **older}}

    def properties(self, id: str) -> Mapping[str, Any]:
        config = self.machine.block.throttle_groups.find(id, "throttle-group").config
        limits: dict[str, int] = {}
        for name, bucket in zip(BUCKET_NAMES, config.buckets, strict=True):
            limits[name] = bucket.average
            limits[f"{name}-max"] = bucket.maximum
            limits[f"{name}-max-length"] = bucket.burst_length
        return {"limits": {**limits, "iops-size": config.iops_size}}


class SecretOptions(Options):
    """QEMU: SecretProperties."""

    data: str | None = Field(default=None, description="The secret itself.")
    file: HostPath | None = Field(default=None, description="The file that it is in.")
    format: Literal["raw", "base64"] = Field(default="raw", description="How it is written.")
    keyid: str = Field(default="", description="The secret that it is encrypted with, by AES-256-CBC.")
    iv: str = Field(default="", description="With keyid: the initialization vector, in base64.")


class Secrets(ObjectType[SecretOptions]):
    """Passwords and the like, which options of block nodes name. What they hold is told to nobody."""

    name = "secret"
    options_type = SecretOptions

    def ids(self) -> Iterable[str]:
        return self.machine.block.secrets

    async def create(self, id: str, options: SecretOptions) -> None:
        secrets = self.machine.block.secrets
        if options.keyid and options.keyid not in secrets:
            raise ObjectError(f"No secret with id '{options.keyid}'")
        key = secrets[options.keyid] if options.keyid else None

        def read() -> bytes:
            return read_secret(options.data, options.file, options.format, key=key, iv=options.iv)

        secrets[id] = await self.machine.context.worker_pool.run(read)

    async def delete(self, id: str) -> None:
        del self.machine.block.secrets[id]


class TlsCredsX509Options(Options):
    """QEMU: TlsCredsX509Properties."""

    dir: HostPath = Field(description="Folder with the files: ca-cert.pem, server-cert.pem, server-key.pem and so on.")
    endpoint: Literal["client", "server"] = Field(default="client", description="Which end of connections.")
    verify_peer: bool = Field(default=True, description="Look at the other end's certificate.")


class TlsCredsX509(ObjectType[TlsCredsX509Options]):
    """Certificates for NBD and the like."""

    name = "tls-creds-x509"
    options_type = TlsCredsX509Options

    def ids(self) -> Iterable[str]:
        return self.machine.block.tls_credentials

    async def create(self, id: str, options: TlsCredsX509Options) -> None:
        def load() -> X509Credentials:
            return X509Credentials(str(options.dir), options.endpoint, verify_peer=options.verify_peer)

        self.machine.block.tls_credentials[id] = await self.machine.context.worker_pool.run(load)

    async def delete(self, id: str) -> None:
        del self.machine.block.tls_credentials[id]

    def properties(self, id: str) -> Mapping[str, Any]:
        found = self.machine.block.tls_credentials[id]
        return {"endpoint": found.endpoint, "verify-peer": found.verify_peer}


class MainLoopOptions(Options):
    """QEMU: MainLoopProperties."""

    aio_max_batch: int = Field(default=0, ge=0, le=1024, description="Requests handed to io_uring at once; 0: all.")
    thread_pool_min: int = Field(default=0, ge=0, le=1024, description="Worker threads that stay.")
    thread_pool_max: int = Field(default=64, ge=1, le=1024, description="Worker threads at most.")


class MainLoopObject(ObjectType[MainLoopOptions]):
    """Other parameters for the main loop. One at most, and it stays."""

    name = "main-loop"
    options_type = MainLoopOptions

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._id = ""

    def ids(self) -> Iterable[str]:
        return [self._id] if self._id else []

    async def create(self, id: str, options: MainLoopOptions) -> None:
        if self._id:
            raise ObjectError("only one main-loop instance allowed")
        context: AioContext = self.machine.context
        try:
            context.worker_pool.set_bounds(options.thread_pool_min, options.thread_pool_max)
        except ValueError as error:
            raise ObjectError("bad thread-pool-min/thread-pool-max values") from error
        context.aio_max_batch = options.aio_max_batch
        self._id = id

    async def delete(self, id: str) -> None:
        raise ObjectInUse(id)


class NetFilters(ObjectType[FilterOptions]):
    """The filters of one kind, on the links of netdevs."""

    def __init__(self, machine: Machine, name: str) -> None:
        super().__init__(machine)
        self.name = name

    @property
    def options_type(self) -> type[FilterOptions]:
        return cast("type[FilterOptions]", self._plugin().options_type)

    def ids(self) -> Iterable[str]:
        return [name for name, netfilter in self.machine.net.filters.items() if netfilter.name == self.name]

    async def create(self, id: str, options: FilterOptions) -> None:
        net = self.machine.net
        if options.netdev not in net.netdevs:
            raise ObjectError("Parameter 'netdev' expects a network backend id")
        netdev = net.netdevs[options.netdev]
        _check_position(options, netdev.id, net.filters)
        for _, _, kind, name in references(options, ""):
            # Those of vm.toml are opened where their users live; one that is there stays where it is.
            if kind == "chardev" and self.machine.chardevs[name].context is not netdev.context:
                raise ObjectError(f"chardev '{name}' and netdev '{netdev.id}' live in different threads")
        await net.add_filter(Configured(self._plugin(), options, id))

    async def delete(self, id: str) -> None:
        await self.machine.net.remove_filter(id)

    def properties(self, id: str) -> Mapping[str, Any]:
        netfilter = self.machine.net.filters[id]
        options: dict[str, Any] = netfilter.options.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {**options, "status": "on" if netfilter.enabled else "off"}

    def _plugin(self) -> type[Plugin[Any]]:
        return find("netfilter", self.name, "netfilter")


def _check_position(options: FilterOptions, netdev: str, filters: Mapping[str, NetFilter[Any]]) -> None:
    """In QEMU's words. ObjectError."""
    position = options.position
    if position in ("head", "tail"):
        return
    if not position.startswith("id="):
        raise ObjectError("Parameter 'position' expects 'head', 'tail' or 'id=<id>'")
    other = filters.get(position.removeprefix("id="))
    if other is None:
        raise ObjectError(f"filter '{position.removeprefix('id=')}' not found")
    if other.options.netdev != netdev:
        raise ObjectError(f"filter '{other.id}' belongs to a different netdev")


_KINDS: Final[tuple[type[ObjectType[Any]], ...]] = (IOThreads, MainLoopObject, Secrets, ThrottleGroups, TlsCredsX509)


def options_types() -> dict[str, type[AnyOptions]]:
    """What the types but filters are created with, by name."""
    return {kind.name: cast("type[AnyOptions]", kind.options_type) for kind in _KINDS}


def object_types(machine: Machine) -> Iterator[ObjectType[Any]]:
    """All types, for one machine."""
    yield from (kind(machine) for kind in _KINDS)
    yield from (NetFilters(machine, name) for name in names("netfilter"))
