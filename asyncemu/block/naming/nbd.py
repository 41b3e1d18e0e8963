# SPDX-License-Identifier: GPL-2.0-or-later
"""Names of NBD exports, as options of the ``nbd`` driver.

    nbd:HOST:PORT[:exportname=NAME]             nbd:unix:PATH[:exportname=NAME]
    nbd://HOST[:PORT]/[NAME]  (also nbd+tcp:)   nbd+unix:///[NAME]?socket=PATH

The URIs are those of the NBD project's uri.md, less TLS, which QEMU 7.2 has no spelling for. Errors have QEMU's words.
"""

from __future__ import annotations

import re
from typing import Any, Final

from asyncemu.errors import ConfigError

#: The IANA's.
DEFAULT_PORT: Final = "10809"

#: RFC 3986, appendix A.
_PCHAR: Final = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_URI: Final = (
    r"nbd(?P<transport>|\+tcp|\+unix)://"
    r"(?:(?:[A-Za-z0-9._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@)?"
    r"(?P<host>\[[^]/?#]*\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)"
    r"(?::(?P<port>[0-9]{1,20}))?"
    rf"(?P<path>(?:/{_PCHAR}*)*)"
    rf"(?:\?(?P<query>(?:{_PCHAR}|[/?])*))?"
    rf"(?:#(?:{_PCHAR}|[/?])*)?"
)
#: Host and port, with what bounds their lengths.
_IPV6: Final = r"\[([^\]]{1,64})\]:([^,]{1,32})"
_HOST: Final = r"([^:]{1,64}):([^,]{1,32})"
_NO_HOST: Final = r"():([^,]{1,32})"


def nbd_options(name: str) -> dict[str, Any]:
    """``server`` and ``export`` of ``name``. Raises ConfigError. QEMU: nbd_parse_filename."""
    if "://" in name:
        return _of_uri(name)
    address, separator, export = name.partition(":exportname=")
    if not address.startswith("nbd:"):
        raise ConfigError("filename", "File name string for NBD must start with 'nbd:'")
    address = address.removeprefix("nbd:")
    if not address or (separator and not export):
        raise ConfigError("filename", "NBD server address missing")
    options: dict[str, Any] = {"export": export} if separator else {}
    if address.startswith("unix:"):
        options["server"] = {"type": "unix", "path": address.removeprefix("unix:")}
    else:
        host, port = inet_address(address)
        options["server"] = {"type": "inet", "host": host, "port": port}
    return options


def inet_address(text: str) -> tuple[str, str]:
    """Host and port of ``HOST:PORT[,option...]``; the options are checked and dropped. QEMU: inet_parse."""
    pattern, what = _HOST, "address"
    if text.startswith(":"):
        pattern, what = _NO_HOST, "port in address"
    elif text.startswith("["):
        pattern, what = _IPV6, "IPv6 address"
    found = re.match(pattern, text, re.DOTALL)
    if found is None:
        raise ConfigError("filename", f"error parsing {what} '{text}'")
    _check_inet_options(text[found.end() :])
    return found[1], found[2]


def _check_inet_options(text: str) -> None:
    to = re.search(r",to=([^,]*)", text)
    if to is not None and not re.fullmatch(r"\s*[+-]?[0-9]+", to[1]):
        raise ConfigError("filename", "error parsing to= argument")
    for flag in ("ipv4", "ipv6", "keep-alive"):
        given = re.search(rf",{flag}([^,]*)", text)
        if given is not None and given[1] not in ("", "=on", "=off"):
            raise ConfigError("filename", f"error parsing '{flag}' flag '{given[1]}'")


def _of_uri(uri: str) -> dict[str, Any]:
    found = re.fullmatch(_URI, uri)
    if found is None:
        raise _no_url()
    host, port, export = found["host"], found["port"] or "0", _decoded(found["path"]).removeprefix("/")
    if int(port) > 65535:
        raise _no_url()
    options: dict[str, Any] = {"export": export} if export else {}
    query = found["query"] or ""
    if found["transport"] == "+unix":
        parameters = [each.partition("=") for each in re.split("[&;]", query) if each]
        if (
            len(parameters) != 1
            or _decoded(parameters[0][0]) != "socket"
            or not parameters[0][1]
            or host
            or found["port"]
        ):
            raise _no_url()
        options["server"] = {"type": "unix", "path": _decoded(parameters[0][2])}
        return options
    if not host or query:
        raise _no_url()
    host = host[1:-1] if host.startswith("[") else _decoded(host)
    options["server"] = {"type": "inet", "host": host, "port": str(int(port)) if int(port) else DEFAULT_PORT}
    return options


def _decoded(text: str) -> str:
    """Without percent-encoding; bytes that are no UTF-8 become what the file system's names have for them."""
    encoded = re.sub(rb"%([0-9A-Fa-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())
    return encoded.decode("utf-8", "surrogateescape")


def _no_url() -> ConfigError:
    return ConfigError("filename", "No valid URL specified")
