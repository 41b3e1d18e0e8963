# SPDX-License-Identifier: GPL-2.0-or-later
"""HttpDriver: a file on a web server as a disk that can be read. QEMU: block/curl.c, with its options and messages."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import Final

from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.http.read_ahead import Piece, ReadAhead
from asyncemu.block.http.source import HttpAccess, HttpError, HttpSource
from asyncemu.block.types import Reopening
from asyncemu.block.unchangeable import refuse_own_changes
from asyncemu.coroutines import Coroutine, start
from asyncemu.errors import ConfigError
from asyncemu.memory.buffers import Buffers
from asyncemu.plain_options import option
from asyncemu.size import Size

_SECTOR: Final = 512

#: Seconds. QEMU: CURL_TIMEOUT_MAX.
_LONGEST_TIMEOUT: Final = 10000

#: Bytes of one read, so that the pieces are bounded.
_MAX_TRANSFER: Final = 4 << 20

#: Bytes to read ahead, at most.
_MAX_AHEAD: Final = 64 << 20

#: Errors that are told of; a server that is gone has many. QEMU: errcount.
_ERRORS_TOLD: Final = 100


class HttpOptions(BlockDriverOptions):
    """Keys of the ``http`` and ``https`` drivers; QEMU's names, and ``password`` and ``proxy-password``."""

    url: str | None = option(default=None, description="The address of the file.")
    readahead: Size = option(default=256 << 10, description="Bytes to fetch beyond what is read; whole sectors.")
    timeout: int = option(default=5, description="Seconds that a request may take; 0: any time.")
    sslverify: bool = option(default=True, description="Insist on a certificate of the server that is good.")
    cookie: str = option(default="", description="Cookies to send, as name=value; name=value.")
    cookie_secret: str = option(default="", description="Id of the secret with the cookies.")
    username: str | None = option(default=None, description="User name, for the server.")
    password: str = option(default="", description="The user's password.")
    password_secret: str = option(default="", description="Id of the secret with the password.")
    proxy_username: str | None = option(default=None, description="User name, for the proxy.")
    proxy_password: str = option(default="", description="The password for the proxy.")
    proxy_password_secret: str = option(default="", description="Id of the secret with the password for the proxy.")


class HttpDriver(BlockDriver[HttpOptions], name="http"):
    """Fetches byte ranges, a little more than is asked for."""

    description = "A file on a web server, read-only."
    protocol = "http"

    async def open(self) -> int:
        """Ask for the size. ConfigError, in QEMU's words."""
        if not self.options.read_only and not self.options.auto_read_only:
            raise ConfigError("read-only", "curl driver does not support writes", "set read-only = true")
        self.read_only = True
        self._access = self._checked()
        self.limits.max_transfer = _MAX_TRANSFER
        self._fetches: set[Coroutine[None]] = set()
        self._errors = 0
        self._source = HttpSource(self._access)
        try:
            size = await self._source.size()
        except HttpError as error:
            await self._source.close()
            raise ConfigError("url", f"CURL: Error opening file: {error}") from error
        except BaseException:
            await self._source.close()
            raise
        self._pieces = ReadAhead(size, int(self.options.readahead))
        return size

    def _checked(self) -> HttpAccess:
        options = self.options
        if options.readahead % _SECTOR:
            raise ConfigError("readahead", f"HTTP_READAHEAD_SIZE {options.readahead} is not a multiple of {_SECTOR}")
        if options.readahead > _MAX_AHEAD:
            raise ConfigError("readahead", f"must be at most {_MAX_AHEAD}, not {options.readahead}")
        if not 0 <= options.timeout <= _LONGEST_TIMEOUT:
            raise ConfigError("timeout", "timeout parameter is too large or negative")
        if options.cookie and options.cookie_secret:
            raise ConfigError("cookie", "curl driver cannot handle both cookie and cookie secret")
        if options.url is None:
            raise ConfigError("url", "curl block driver requires an 'url' option")
        if not options.url.startswith(f"{self.protocol}://"):
            raise ConfigError(
                "url",
                f"{self.protocol} curl driver cannot handle the URL '{options.url}' "
                f"(does not start with '{self.protocol}://')",
            )
        cookie = self._secret("cookie-secret", options.cookie_secret, options.cookie)
        if not cookie.isprintable():
            raise ConfigError("cookie", "has characters that no header can have")
        return HttpAccess(
            options.url,
            options.timeout,
            options.username,
            self._secret("password-secret", options.password_secret, options.password),
            options.proxy_username,
            self._secret("proxy-password-secret", options.proxy_password_secret, options.proxy_password),
            cookie,
            options.sslverify,
        )

    def _secret(self, option_name: str, name: str, otherwise: str) -> str:
        if not name:
            return otherwise
        try:
            return self.environment.secret(name, option_name).decode()
        except UnicodeDecodeError:
            raise ConfigError(option_name, f"Data from secret {name} is not valid UTF-8") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._stop()

    async def prepare_reopen(self, options: BlockDriverOptions) -> Reopening | None:
        """Nothing of its own may change."""
        refuse_own_changes(self.options, options)
        return None

    async def detach_context(self) -> None:
        """The connections are the loop's; what has been fetched stays."""
        await self._stop()

    async def attach_context(self) -> None:
        """See BlockDriver."""
        self._source = HttpSource(self._access)

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        end = min(offset + buffers.nbytes, self._pieces.size)
        piece = self._pieces.find(offset, end)
        while piece is None:
            await self._pieces.room()
            # Another request may have begun it meanwhile.
            piece = self._pieces.find(offset, end) or self._begin(offset, end)
        await piece.wait(end)
        data = piece.take(offset, end)
        if data is None:
            raise OSError(errno.EIO, str(piece.error))
        inside, outside = buffers.split(len(data))
        inside.write(data)
        outside.fill_zero()

    # ---- private

    def _begin(self, offset: int, end: int) -> Piece:
        piece = self._pieces.begin(offset, end)
        fetch = start(self.context, self._fetch(piece), self._fetch_ended)
        if not fetch.done():
            self._fetches.add(fetch)
        return piece

    def _fetch_ended(self, fetch: Coroutine[None]) -> None:
        self._fetches.discard(fetch)
        if isinstance(fetch.error, Exception):
            self.context.loop.call_exception_handler({"message": fetch.get_name(), "exception": fetch.error})

    async def _fetch(self, piece: Piece) -> None:
        error: Exception | None = None
        try:
            async with contextlib.aclosing(self._source.fetch(piece.start, piece.length, self._pieces.size)) as chunks:
                async for chunk in chunks:
                    piece.received(chunk)
        except HttpError as failure:
            error = failure
            self._tell(failure)
        finally:
            self._pieces.ended(piece, error)

    def _tell(self, error: HttpError) -> None:
        self._errors += 1
        if self._errors > _ERRORS_TOLD:
            return
        import logging

        log = logging.getLogger("asyncemu.block.http")
        log.error("curl: %s", error)
        if self._errors == _ERRORS_TOLD:
            log.error("curl: further errors suppressed")

    async def _stop(self) -> None:
        fetches = list(self._fetches)
        for fetch in fetches:
            fetch.cancel()
        for fetch in fetches:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await fetch
        await self._source.close()


class HttpsDriver(HttpDriver, name="https"):
    """The same over TLS."""

    protocol = "https"
