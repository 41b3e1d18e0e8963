# SPDX-License-Identifier: GPL-2.0-or-later
"""``--list``: what another NBD server offers. QEMU: qemu_nbd_client_list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from asyncemu.block.nbd.client_negotiation import ClientNegotiation, DescribedExport, Refused
from asyncemu.block.nbd.connecting import Server, negotiate
from asyncemu.cli.nbd.serving import address_of
from asyncemu.cli.nbd.settings import Settings
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.runner import ToolSession, run_tool

if TYPE_CHECKING:
    from asyncemu.block.nbd.tls import TlsCredentials

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
    server = Server(address_of(settings), credentials, settings.tls_host_name or "")
    negotiation = ClientNegotiation("", listing=True, tls=credentials is not None)
    try:
        channel = await negotiate(server, negotiation)
    except Refused as error:
        raise ToolError(error.problem, hint=error.hint.removesuffix("\n")) from error
    channel.close()
    assert negotiation.exports is not None
    return negotiation.exports


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
