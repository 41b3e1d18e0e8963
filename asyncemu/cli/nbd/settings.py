# SPDX-License-Identifier: GPL-2.0-or-later
"""Settings: what the command line of nbd asks for."""

from __future__ import annotations

from asyncemu.cli.tools.cache_modes import WRITEBACK, CacheMode
from asyncemu.cli.tools.objects import UserObjects

#: QEMU: NBD_DEFAULT_PORT, the one that IANA has registered.
DEFAULT_PORT = "10809"


class Settings:
    """The fields are in the order of ``--help``; those that are None or empty were not given."""

    def __init__(self) -> None:
        self.help = False
        self.version = False

        self.port: str | None = None
        self.interface: str | None = None
        self.socket_path: str | None = None
        #: Clients at a time; 0: any number.
        self.shared = 1
        self.persistent = False
        self.verbose = False
        self.export_name: str | None = None
        self.description: str | None = None

        #: Bytes.
        self.offset = 0
        self.allocation_depth = False
        self.bitmaps: list[str] = []

        self.list = False
        self.objects = UserObjects()
        self.tls_credentials: str | None = None
        self.tls_authorization: str | None = None
        self.tls_host_name: str | None = None
        self.fork = False
        self.pid_file: str | None = None
        self.selinux_label: str | None = None

        self.device: str | None = None
        self.disconnect = False

        self.format: str | None = None
        self.read_only = False
        self.snapshot = False
        #: An internal snapshot: id and name, either of which may be empty; or one text that may be either.
        self.load_snapshot: tuple[str, str] | str | None = None
        self.cache: CacheMode | None = None
        self.aio: str | None = None
        self.discard: str | None = None
        self.detect_zeroes = "off"
        self.image_opts = False

        #: The other words.
        self.rest: list[str] = []

    @property
    def cache_mode(self) -> CacheMode:
        """That of ``--cache``, or the default."""
        return self.cache if self.cache is not None else WRITEBACK

    def is_about_a_device(self) -> bool:
        """Does anything say what is offered, and how?"""
        given = (
            self.export_name is not None,
            self.description is not None,
            self.offset,
            self.device is not None,
            self.disconnect,
            self.format is not None,
            self.load_snapshot is not None,
            self.bitmaps,
            self.allocation_depth,
            self.aio is not None,
            self.discard is not None,
            self.cache is not None,
        )
        return any(given)
