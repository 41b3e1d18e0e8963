# SPDX-License-Identifier: GPL-2.0-or-later
"""Back ends of chardevs as QMP spells them (qapi/char.json), and the same as tables of vm.toml.

QMP nests what the table has flat: {"type": "file", "data": {"out": "log"}} is backend = "file", path = "log".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from asyncemu.wire_model import WireModel


class InetSocketAddress(WireModel):
    """QEMU: InetSocketAddress. ``port`` is a number or a service's name, as text."""

    host: str
    port: str
    to: int | None = None
    ipv4: bool | None = None
    ipv6: bool | None = None


class UnixSocketAddress(WireModel):
    """QEMU: UnixSocketAddress."""

    path: str
    abstract: bool | None = None
    tight: bool | None = None


class FdSocketAddress(WireModel):
    """QEMU: String. A descriptor's number."""

    str: str


class InetSocketAddressWrapper(WireModel):
    """TCP or UDP."""

    type: Literal["inet"]
    data: InetSocketAddress

    def options(self) -> dict[str, Any]:
        """Keys of a [[chardev]]."""
        return {**self.data.to_wire(), "port": _number(self.data.port)}


class UnixSocketAddressWrapper(WireModel):
    """A unix socket."""

    type: Literal["unix"]
    data: UnixSocketAddress

    def options(self) -> dict[str, Any]:
        """Keys of a [[chardev]]."""
        data = self.data
        if not data.abstract:
            return {"path": data.path}
        return {"abstract": data.path} | ({} if data.tight is None else {"tight": data.tight})


class FdSocketAddressWrapper(WireModel):
    """A descriptor that the program has been given."""

    type: Literal["fd"]
    data: FdSocketAddress

    def options(self) -> dict[str, Any]:
        """Keys of a [[chardev]]."""
        return {"fd": _number(self.data.str)}


Address = Annotated[
    InetSocketAddressWrapper | UnixSocketAddressWrapper | FdSocketAddressWrapper, Field(discriminator="type")
]


def _number(text: str) -> int | str:
    """A port; what is no number is left to whoever looks at it."""
    return int(text) if text.isascii() and text.isdecimal() else text


class ChardevCommon(WireModel):
    """QEMU: ChardevCommon; the table has the same keys."""

    logfile: str | None = None
    logappend: bool | None = None

    def options(self) -> dict[str, Any]:
        """Keys of a [[chardev]]."""
        return self.to_wire()


class ChardevFile(ChardevCommon):
    """QEMU: ChardevFile."""

    in_: Annotated[str | None, Field(alias="in")] = None
    out: str
    append: bool | None = None

    def options(self) -> dict[str, Any]:
        table = super().options()
        table["path"] = table.pop("out")
        if "in" in table:
            table["input-path"] = table.pop("in")
        return table


class ChardevHostdev(ChardevCommon):
    """QEMU: ChardevHostdev."""

    device: str

    def options(self) -> dict[str, Any]:
        table = super().options()
        table["path"] = table.pop("device")
        return table


class ChardevSocket(ChardevCommon):
    """QEMU: ChardevSocket."""

    addr: Address
    tls_creds: str | None = None
    server: bool = True
    wait: bool = False
    nodelay: bool | None = None
    telnet: bool | None = None
    websocket: bool | None = None
    #: Seconds.
    reconnect: int | None = None

    def options(self) -> dict[str, Any]:
        table = super().options()
        del table["addr"]
        if not self.server:
            del table["wait"]
        return {**table, **self.addr.options()}


class ChardevUdp(ChardevCommon):
    """QEMU: ChardevUdp."""

    remote: InetSocketAddressWrapper
    local: InetSocketAddressWrapper | None = None

    def options(self) -> dict[str, Any]:
        table = {**super().options(), **self.remote.options()}
        del table["remote"]
        if self.local is not None:
            del table["local"]
            table |= {"localaddr": self.local.data.host, "localport": _number(self.local.data.port)}
        return table


class ChardevRingbuf(ChardevCommon):
    """QEMU: ChardevRingbuf."""

    size: int | None = None


class ChardevStdio(ChardevCommon):
    """QEMU: ChardevStdio."""

    signal: bool | None = None


class FileWrapper(WireModel):
    """A file."""

    type: Literal["file"]
    data: ChardevFile


class HostdevWrapper(WireModel):
    """A serial line, or FIFOs."""

    type: Literal["serial", "pipe"]
    data: ChardevHostdev


class SocketWrapper(WireModel):
    """A stream socket, to listen or to connect."""

    type: Literal["socket"]
    data: ChardevSocket


class UdpWrapper(WireModel):
    """Datagrams."""

    type: Literal["udp"]
    data: ChardevUdp


class CommonWrapper(WireModel):
    """A pseudo terminal, or nothing."""

    type: Literal["pty", "null"]
    data: ChardevCommon


class RingbufWrapper(WireModel):
    """What was written last, to be asked for."""

    type: Literal["ringbuf", "memory"]
    data: ChardevRingbuf


class StdioWrapper(WireModel):
    """The program's own terminal."""

    type: Literal["stdio"]
    data: ChardevStdio


#: QEMU: ChardevBackend.
Backend = Annotated[
    FileWrapper | HostdevWrapper | SocketWrapper | UdpWrapper | CommonWrapper | RingbufWrapper | StdioWrapper,
    Field(discriminator="type"),
]
