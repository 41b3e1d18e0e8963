# SPDX-License-Identifier: GPL-2.0-or-later
"""What an open image is called in output, and how it would be opened again: a plain name where that says all, else
``json:{...}``.

What counts are the options that change what is read ("strong" ones); how to open it (caches, locks, read-only) is no
part of the name. Options appear as they were written, flat within their node. QEMU: bdrv_refresh_filename,
strong_runtime_opts and the drivers' bdrv_refresh_filename.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from asyncemu.block.naming.tables import flattened

#: Bytes of a name, less the zero at the end. QEMU: sizeof(bs->filename).
_LONGEST: Final = 4095

#: Names of children, which options of the same names are not shown for.
Children = Mapping[str, "NodeName"]


class NodeName(NamedTuple):
    """How one node is called."""

    #: The name that opens it again by itself; empty: there is none.
    exact: str
    #: The table that opens it again. QEMU: full_open_options.
    options: dict[str, Any]
    #: Does it store bytes, and give its name to a format above?
    is_protocol: bool

    @property
    def filename(self) -> str:
        """``exact``, or ``json:`` and ``options``; cut off where QEMU's has no room for more."""
        if self.exact:
            return self.exact
        from asyncemu.block.naming.json_writer import json_text

        name = "json:" + json_text(self.options)
        return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 3]}..."


def node_name(
    driver: str,
    written: Mapping[str, object],
    children: Children,
    *,
    primary: str = "",
    is_protocol: bool = False,
    is_filter: bool = False,
    backing_overridden: bool = False,
) -> NodeName:
    """The name of a node of ``driver`` with the options ``written``, over ``children`` by their slots.

    ``primary`` is the slot of the child that holds what the node shows. ``backing_overridden``: its backing file (or
    that there is none) is not what the image itself says; without this ``children["backing"]`` is not shown.
    """
    strong = _strong_options(driver, written, children)
    shown = {slot: child for slot, child in children.items() if slot != "backing" or backing_overridden}
    # The last first: QEMU shows those that share a bucket of its hash table in the order in which they were written.
    options: dict[str, Any] = {
        **dict(list(strong.items())[::-1]),
        "driver": driver,
        **{slot: child.options for slot, child in shown.items()},
    }
    if backing_overridden and "backing" not in children:
        options["backing"] = None
    if driver in _EXACT:
        exact = _EXACT[driver](strong, children)
    elif primary in children and not (is_filter or strong or backing_overridden):
        below = children[primary]
        exact = below.exact if below.is_protocol else ""
    else:
        exact = ""
    return NodeName(exact if len(exact.encode(errors="surrogateescape")) <= _LONGEST else "", options, is_protocol)


def _strong_options(driver: str, written: Mapping[str, object], children: Children) -> dict[str, object]:
    strong = _STRONG.get(driver)
    own = flattened({key: value for key, value in written.items() if key not in children})
    if strong is None:
        return {key: value for key, value in own.items() if not _is_one_of(key, _WEAK)}
    return {key: value for key, value in own.items() if _is_one_of(key, strong)}


def _is_one_of(key: str, names: Collection[str]) -> bool:
    """Is ``key`` one of ``names``, or below one that ends with a dot?"""
    return key in names or any(name.endswith(".") and key.startswith(name) for name in names)


#: By driver of QEMU's; a name that ends with a dot stands for all below it.
_STRONG: Final[Mapping[str, tuple[str, ...]]] = {
    "blkdebug": (
        "config",
        "inject-error.",
        "set-state.",
        "align",
        "max-transfer",
        "opt-write-zero",
        "max-write-zero",
        "opt-discard",
        "max-discard",
    ),
    "blkverify": (),
    "compress": (),
    "copy-on-read": (),
    "file": ("filename",),
    "host_device": ("filename",),
    "http": ("url", "sslverify", "cookie", "cookie-secret", "username", "password-secret", "proxy-username"),
    "https": ("url", "sslverify", "cookie", "cookie-secret", "username", "password-secret", "proxy-username"),
    "nbd": ("path", "host", "port", "export", "tls-creds", "tls-hostname", "server."),
    "null-aio": ("size", "read-zeroes"),
    "null-co": ("size", "read-zeroes"),
    "preallocate": (),
    "qcow2": ("encrypt.",),
    "raw": ("offset", "size"),
    "throttle": ("throttle-group",),
}

#: Of drivers that QEMU does not have: all but these.
_WEAK: Final = frozenset(
    {"driver", "node-name", "read-only", "auto-read-only", "force-share", "discard", "detect-zeroes", "cache."}
)


# ---- drivers with names of their own


def _file(options: Mapping[str, object], children: Children) -> str:
    filename = options.get("filename")
    return filename if isinstance(filename, str) else ""


def _null(driver: str) -> Callable[[Mapping[str, object], Children], str]:
    return lambda options, children: "" if options else f"{driver}://"


def _nbd(options: Mapping[str, object], children: Children) -> str:
    export = options.get("export") or ""
    if (path := options.get("server.path", options.get("path"))) is not None:
        return f"nbd+unix:///{export}?socket={path}" if export else f"nbd+unix://?socket={path}"
    if any(f"server.{key}" in options for key in ("ipv4", "ipv6", "to")):
        return ""  # no URI says that
    host = options.get("server.host", options.get("host"))
    port = options.get("server.port", options.get("port", 10809))
    return f"nbd://{host}:{port}/{export}" if export else f"nbd://{host}:{port}"


def _http(options: Mapping[str, object], children: Children) -> str:
    url = options.get("url")
    verified = options.get("sslverify", True) in (True, "on")
    return url if isinstance(url, str) and verified and not options.keys() - {"url", "sslverify"} else ""


def _blkdebug(options: Mapping[str, object], children: Children) -> str:
    image = children["image"].exact if "image" in children else ""
    return f"blkdebug:{options.get('config', '')}:{image}" if image and not options.keys() - {"config"} else ""


def _blkverify(options: Mapping[str, object], children: Children) -> str:
    raw, test = (children[slot].exact if slot in children else "" for slot in ("raw", "test"))
    return f"blkverify:{raw}:{test}" if raw and test else ""


_EXACT: Final[Mapping[str, Callable[[Mapping[str, object], Children], str]]] = {
    "blkdebug": _blkdebug,
    "blkverify": _blkverify,
    "file": _file,
    "host_device": _file,
    "http": _http,
    "https": _http,
    "nbd": _nbd,
    "null-aio": _null("null-aio"),
    "null-co": _null("null-co"),
}
