# SPDX-License-Identifier: GPL-2.0-or-later
"""File names of the ``nbd`` driver, to its options and back. Spec: the NBD project's doc/uri.md; QEMU's older names.

nbd://host:port/export          nbd:host:port:exportname=export
nbd+tcp://host:port/export
nbd+unix:///export?socket=path  nbd:unix:path:exportname=export
"""

from __future__ import annotations

from typing import Final

from asyncemu.block.nbd.constants import DEFAULT_PORT
from asyncemu.errors import ConfigError

_EXPORT_NAME: Final = ":exportname="
_SCHEMES: Final = ("nbd", "nbd+tcp", "nbd+unix")
#: Left as they are in the path of a URI and in a socket's path.
_SAFE: Final = "-._~!$'()*+,=:@/"


def parse_filename(filename: str) -> dict[str, object]:
    """The options in a file name that begins with ``nbd:`` or ``nbd+``. ConfigError, in QEMU's words."""
    if "://" in filename:
        return _parse_uri(filename)
    address, separator, export = filename.removeprefix("nbd:").partition(_EXPORT_NAME)
    options: dict[str, object] = {"export": export} if separator else {}
    if address.startswith("unix:"):
        options["server"] = {"type": "unix", "path": address.removeprefix("unix:")}
        return options
    host, port = _host_and_port(address)
    if port is None:
        raise ConfigError(filename, f"error parsing address '{address}'")
    options["server"] = {"type": "inet", "host": host, "port": port}
    return options


def _parse_uri(uri: str) -> dict[str, object]:
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ConfigError(uri, "No valid URL specified") from None
    # Not as in a form: a plus is a plus.
    query = [field.partition("=") for field in parts.query.split("&")] if parts.query else []
    scheme = parts.scheme
    if scheme not in _SCHEMES:
        raise ConfigError(uri, f"Unknown protocol '{scheme}'")
    options: dict[str, object] = {}
    # One slash stands before the name; what follows it is the name's own.
    export = unquote(parts.path.removeprefix("/"))
    if export:
        options["export"] = export
    if scheme == "nbd+unix":
        if host or port is not None or [key for key, _, _ in query] != ["socket"]:
            raise ConfigError(uri, "No valid URL specified")
        options["server"] = {"type": "unix", "path": unquote(query[0][2])}
        return options
    if not host or query:
        raise ConfigError(uri, "No valid URL specified")
    options["server"] = {"type": "inet", "host": host, "port": str(DEFAULT_PORT if port is None else port)}
    return options


def _host_and_port(address: str) -> tuple[str, str | None]:
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        return host, rest[1:] if bracket and rest.startswith(":") else None
    host, colon, port = address.partition(":")
    return host, port if colon else None


def unix_uri(path: str, export: str) -> str:
    """As QEMU names what it has opened."""
    return f"nbd+unix://{_path_of(export)}?socket={_quoted(path)}"


def inet_uri(host: str, port: str, export: str) -> str:
    """As QEMU names what it has opened."""
    name = f"[{host}]" if ":" in host else host
    return f"nbd://{name}:{port}{_path_of(export)}"


def _path_of(export: str) -> str:
    return f"/{_quoted(export)}" if export else ""


def _quoted(text: str) -> str:
    if all(each.isascii() and (each.isalnum() or each in _SAFE) for each in text):
        return text
    from urllib.parse import quote

    return quote(text, safe=_SAFE)
