# SPDX-License-Identifier: GPL-2.0-or-later
"""HttpSource: a file on a web server, read in byte ranges (RFC 9110, section 14) over connections that stay open.

The library is aiohttp, which asyncemu does not need otherwise: ``pip install 'asyncemu[http]'``.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

#: RFC 9110, section 14.4.
_content_range: Final = re.compile(r"bytes +([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.ASCII | re.IGNORECASE)

#: Of the loop, in which a transport sees that its connection has ended; a few will do.
_ROUNDS: Final = 100

_PARTIAL_CONTENT: Final = 206
_FIRST_ERROR: Final = 400


class HttpError(Exception):
    """The server, or the way to it, does not do as it should; ``str`` says what is wrong."""


@dataclass(frozen=True, slots=True)
class HttpAccess:
    """What is asked of which server, and as whom."""

    url: str
    #: Seconds for one request with its answer; 0: any time.
    timeout: int
    username: str | None = None
    password: str = ""
    proxy_username: str | None = None
    proxy_password: str = ""
    #: Value of the header field; empty: none.
    cookie: str = ""
    verify: bool = True


class HttpSource:
    """Made in the loop in which it is used, and closed there. Methods raise HttpError."""

    def __init__(self, access: HttpAccess) -> None:
        try:
            import aiohttp
            from yarl import URL
        except ImportError:
            raise ConfigError("driver", "needs aiohttp", "pip install 'asyncemu[http]'") from None
        self._access = access
        try:
            # As it is: a signed address is not to be quoted in another way.
            url = URL(access.url, encoded=True)
            host = url.host
        except ValueError as error:
            raise ConfigError("url", f"is no address: {error}") from error
        if not host:
            raise ConfigError("url", "names no host")
        self._url: URL = url if access.username is None else url.with_user(None)
        self._proxy = _proxy_for(url.scheme, host)
        self._proxy_headers = _authorization("proxy-username", access.proxy_username, access.proxy_password)
        # The file's own bytes, not compressed for the way.
        self._headers = {"Accept-Encoding": "identity"}
        self._headers |= _authorization("username", access.username, access.password)
        if access.cookie:
            self._headers["Cookie"] = access.cookie
        self._sockets: list[socket.socket] = []
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=access.verify, socket_factory=self._socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=access.timeout or None),
            auto_decompress=False,
        )

    async def size(self) -> int:
        """Bytes of the file. HttpError also when the server can't send parts of it."""
        async with self._request("HEAD", {}) as response:
            length = response.headers.get("Content-Length", "")
            if not (length.isascii() and length.isdigit() and len(length) < 20):
                raise HttpError("Server didn't report file size.")
            if response.headers.get("Accept-Ranges", "").strip().lower() != "bytes":
                raise HttpError("Server does not support 'range' (byte ranges).")
            return int(length)

    async def fetch(self, offset: int, length: int, size: int) -> AsyncGenerator[bytes, None]:
        """``length`` bytes from ``offset`` on, as they come in. ``size`` is what the file had."""
        asked = f"bytes={offset}-{offset + length - 1}"
        async with self._request("GET", {"Range": asked}) as response:
            if response.status != _PARTIAL_CONTENT:
                raise HttpError(f"Server answers {response.status} to a range")
            found = _content_range.fullmatch(response.headers.get("Content-Range", "").strip())
            if found is None or int(found[1]) != offset:
                raise HttpError("Server sends another range than the one asked for")
            if found[3] not in ("*", str(size)):
                raise HttpError(f"The file had {size} bytes, and has {found[3]} now")
            left = length
            async for chunk in response.content.iter_any():
                yield chunk[:left]
                left -= len(chunk)
                if left <= 0:
                    break
            if left > 0:
                raise HttpError(f"transfer closed with {left} bytes remaining to read")

    async def close(self) -> None:
        """Close the connections, so that nothing of them is left in the loop."""
        await self._session.close()
        # A transport whose handshake has failed waits for the server's last word.
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for _ in range(_ROUNDS):
            if all(each.fileno() < 0 for each in self._sockets):
                break
            await asyncio.sleep(0)

    def _socket(self, address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
        """For aiohttp, which connects it; closed by its transport."""
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        self._sockets = [each for each in self._sockets if each.fileno() >= 0]
        self._sockets.append(made)
        return made

    @contextlib.asynccontextmanager
    async def _request(self, method: str, headers: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        import aiohttp

        began = monotonic()
        try:
            async with self._session.request(
                method,
                self._url,
                headers=self._headers | headers,
                proxy=self._proxy,
                proxy_headers=dict(self._proxy_headers),
            ) as response:
                if response.status >= _FIRST_ERROR:
                    raise HttpError(f"The requested URL returned error: {response.status}")
                yield response
        except TimeoutError:
            raise HttpError(f"Operation timed out after {_ms(began)} milliseconds") from None
        except aiohttp.ClientConnectorDNSError as error:
            raise HttpError(f"Could not resolve host: {error.host}") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise HttpError(f"SSL certificate problem: {error.certificate_error}") from error
        except aiohttp.ClientConnectorError as error:
            problem = f"Failed to connect to {error.host} port {error.port} after {_ms(began)} ms"
            raise HttpError(f"{problem}: Couldn't connect to server") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise HttpError(str(error) or type(error).__name__) from error


def _ms(began: float) -> int:
    """Since ``began``, which monotonic() said."""
    return int((monotonic() - began) * 1000)


def _authorization(option_name: str, username: str | None, password: str) -> dict[str, str]:
    """The header field of RFC 7617, or none. ConfigError: there can't be such a name."""
    if username is None:
        return {}
    if ":" in username:
        raise ConfigError(option_name, "has a colon, which no user name can have")
    credentials = base64.b64encode(f"{username}:{password}".encode()).decode()
    return {"Authorization": f"Basic {credentials}"}


def _proxy_for(scheme: str, host: str) -> str | None:
    """What the environment says, as curl asks it: ``http_proxy``, ``no_proxy`` and so on."""
    from urllib.request import getproxies, proxy_bypass

    proxy = getproxies().get(scheme)
    return None if proxy is None or proxy_bypass(host) else proxy
