# SPDX-License-Identifier: GPL-2.0-or-later
"""``--list``: what another NBD server offers. QEMU: qemu_nbd_client_list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncemu.block.nbd.address import connect
from asyncemu.block.nbd.channel import Channel, SocketChannel, receive_some, send_all
from asyncemu.block.nbd.client_negotiation import ClientNegotiation, DescribedExport, Refused
from asyncemu.cli.nbd.serving import address_of
from asyncemu.cli.nbd.settings import Settings
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.runner import ToolSession, run_tool

if TYPE_CHECKING:
    from asyncemu.block.nbd.tls import TlsCredentials

#: Bytes received at once.
_RECEIVE_SIZE: Final = 16 << 10

#: Names of transmission flags, by bit; bit 0 says that there are any. Spec: proto.md, "Transmission flags".
_FLAG_NAMES: Final = (
    "",
    "readonly",
    "flush",
    "fua",
    "rotational",
    "trim",
    "zeroes",
    "df",
    "multi",
    "resize",
    "cache",
    "fast-zero",
)


def list_exports(settings: Settings, credentials: TlsCredentials | None) -> int:
    """Print them; the exit status."""

    async def main(session: ToolSession) -> int:
        exports = await _ask(settings, credentials)
        print(f"exports available: {len(exports)}")
        for export in exports:
            print("\n".join(_lines(export)))
        return 0

    return run_tool(main)


async def _ask(settings: Settings, credentials: TlsCredentials | None) -> list[DescribedExport]:
    channel: Channel = SocketChannel(await connect(address_of(settings)))
    negotiation = ClientNegotiation("", listing=True, tls=credentials is not None)
    try:
        while not negotiation.done:
            while (request := negotiation.step()) is not None:
                await send_all(channel, request)
            if negotiation.starts_tls:
                assert credentials is not None
                channel = await _start_tls(settings, channel, credentials)
                negotiation.tls_started()
            elif not negotiation.done:
                data = await receive_some(channel, _RECEIVE_SIZE)
                if not data:
                    raise negotiation.end()
                negotiation.receive(data)
    except Refused as error:
        raise ToolError(error.problem, hint=error.hint.removesuffix("\n")) from error
    finally:
        channel.close()
    assert negotiation.exports is not None
    return negotiation.exports


async def _start_tls(settings: Settings, channel: Channel, credentials: TlsCredentials) -> Channel:
    name = settings.tls_host_name
    if name is None:
        if settings.socket_path is not None:
            raise ToolError("No hostname for certificate validation")
        name = settings.interface or ""
    import ssl

    from asyncemu.block.nbd.tls_channel import start_tls

    try:
        return await start_tls(channel, credentials, name)
    except ssl.SSLCertVerificationError as error:
        if "Hostname mismatch" in error.verify_message or "IP address mismatch" in error.verify_message:
            raise ToolError(f"Certificate does not match the hostname {name}") from error
        raise ToolError(f"TLS handshake failed: {error.verify_message}") from error
    except ssl.SSLError as error:
        raise ToolError(f"TLS handshake failed: {error.reason or error}") from error


def _lines(export: DescribedExport) -> list[str]:
    lines = [f" export: '{export.name}'"]
    if export.description:
        lines.append(f"  description: {export.description}")
    information = export.information
    if information is None:
        return lines
    lines.append(f"  size:  {information.size}")
    if information.flags & 1:
        names = [name for bit, name in enumerate(_FLAG_NAMES) if name and information.flags >> bit & 1]
        lines.append(f"  flags: {information.flags:#x} ( {' '.join(names)} )")
    if information.block_sizes is not None:
        for name, size in zip(("min", "opt", "max"), information.block_sizes, strict=True):
            lines.append(f"  {name} block: {size}")
    if export.contexts:
        lines.append(f"  available meta contexts: {len(export.contexts)}")
        lines += [f"   {name}" for name in export.contexts]
    return lines
