# SPDX-License-Identifier: GPL-2.0-or-later
"""What holds the bytes of an image, by its name: ``disk.img``, ``nbd://host``, ``blkdebug::disk.img``.

A name with a colon before any slash begins with a protocol; all others are names of files, or of devices.
QEMU: bdrv_find_protocol and the drivers' bdrv_parse_filename.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any, Final

from asyncemu.block.filenames import has_protocol
from asyncemu.errors import ConfigError

#: Names within names (``blkdebug:config:blkdebug:...``): each is a node.
MAX_NESTING: Final = 32


def is_device(name: str) -> bool:
    """Is the file ``name`` a block or character device of the host? Follows links; False when it is not there."""
    try:
        mode = os.stat(name).st_mode  # noqa: PTH116  # pathlib takes a tool too long to import
    except (OSError, ValueError):
        return False
    return stat.S_ISBLK(mode) or stat.S_ISCHR(mode)


def file_table(name: str) -> dict[str, Any]:
    """The node over the file or device ``name``, whatever it looks like."""
    return {"driver": "host_device" if name and is_device(name) else "file", "filename": name}


def protocol_table(name: str, nesting: int = 0) -> dict[str, Any]:
    """The node that holds what is called ``name``. Raises ConfigError."""
    driver = protocol_driver(name)
    if driver in ("file", "host_device") and not has_protocol(name):
        return file_table(name)
    return driver_table(driver, name, nesting) if is_protocol(driver) else {"driver": driver, "filename": name}


def protocol_driver(name: str) -> str:
    """Which driver takes ``name``, whatever is wrong with the rest of it. ConfigError: no protocol is called so."""
    if is_device(name) or not has_protocol(name):
        return str(file_table(name)["driver"])
    prefix, _, _ = name.partition(":")
    driver = _DRIVERS.get(prefix)
    if driver is None and _is_plugin_protocol(prefix):
        return prefix
    if driver is None:
        raise ConfigError("filename", f"Unknown protocol '{prefix[:127]}'")
    return driver


def driver_table(driver: str, name: str, nesting: int = 0) -> dict[str, Any]:
    """The node of the protocol ``driver`` (see ``is_protocol``) that holds ``name``, prefix or not. ConfigError."""
    if nesting >= MAX_NESTING:
        raise ConfigError("filename", f"names more than {MAX_NESTING} nodes", "name fewer")
    return {"driver": driver, **_PARSERS[driver](name, nesting)}


def is_protocol(driver: str) -> bool:
    """Does ``driver`` take names itself, and not a node below that does?"""
    return driver in _PARSERS


def _is_plugin_protocol(prefix: str) -> bool:
    from asyncemu.plugins import find

    try:
        plugin = find("blockdev", prefix, "filename")
    except ConfigError:
        return False
    return getattr(plugin, "protocol", "") == prefix


# ---- by driver: options of a name


def _file(name: str, nesting: int) -> dict[str, Any]:
    return {"filename": _without_prefix(name, "file:")}


def _host_device(name: str, nesting: int) -> dict[str, Any]:
    return {"filename": _without_prefix(name, "host_device:")}


def _without_prefix(name: str, prefix: str) -> str:
    if not name.startswith(prefix):
        return name
    rest = name.removeprefix(prefix)
    # Whoever sees the rest later must not take its beginning for a protocol.
    return f"./{rest}" if has_protocol(rest) else rest


def _nbd(name: str, nesting: int) -> dict[str, Any]:
    from asyncemu.block.naming.nbd import nbd_options

    return nbd_options(name)


def _null(driver: str) -> Callable[[str, int], dict[str, Any]]:
    def options(name: str, nesting: int) -> dict[str, Any]:
        if name != f"{driver}://":
            raise ConfigError("filename", f"The only allowed filename for this driver is '{driver}://'")
        return {}

    return options


def _blkdebug(name: str, nesting: int) -> dict[str, Any]:
    if not name.startswith("blkdebug:"):
        return {"image": named_child(name, nesting + 1)}
    config, separator, image = name.removeprefix("blkdebug:").partition(":")
    if not separator:
        raise ConfigError("filename", "blkdebug requires both config file and image path")
    options: dict[str, Any] = {"config": config} if config else {}
    return {**options, "image": named_child(image, nesting + 1)}


def _blkverify(name: str, nesting: int) -> dict[str, Any]:
    if not name.startswith("blkverify:"):
        raise ConfigError("raw", 'A block device must be specified for "raw"')
    raw, separator, test = name.removeprefix("blkverify:").partition(":")
    if not separator:
        raise ConfigError("filename", "blkverify requires raw copy and original image path")
    # What is under test may be of any format: it is looked at.
    return {"raw": named_child(raw, nesting + 1), "test": probed_child(test, nesting + 1)}


def _http(name: str, nesting: int) -> dict[str, Any]:
    # An old spelling of an option: "http://host/file:readahead=64k:".
    url, separator, readahead = name.rpartition(":readahead=")
    if separator and readahead.endswith(":"):
        return {"url": url, "readahead": readahead[:-1]}
    return {"url": name}


def named_child(name: str, nesting: int = 0) -> dict[str, Any]:
    """The protocol node ``name`` of a driver above it."""
    if name.startswith("json:"):
        from asyncemu.block.naming.json_names import json_table

        return json_table(name)
    return protocol_table(name, nesting)


def probed_child(name: str, nesting: int = 0) -> dict[str, Any]:
    """The node of the image ``name``, whose format is to be looked at."""
    child = named_child(name, nesting)
    return child if name.startswith("json:") else {"file": child}


#: Options by driver; the names of the drivers are those of builtin.py.
_PARSERS: Final[dict[str, Callable[[str, int], dict[str, Any]]]] = {
    "blkdebug": _blkdebug,
    "blkverify": _blkverify,
    "file": _file,
    "host_device": _host_device,
    "http": _http,
    "https": _http,
    "nbd": _nbd,
    "null-aio": _null("null-aio"),
    "null-co": _null("null-co"),
}

#: Drivers by prefix.
_DRIVERS: Final = {**{name: name for name in _PARSERS}, "nbd+tcp": "nbd", "nbd+unix": "nbd"}
