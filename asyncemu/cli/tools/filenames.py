# SPDX-License-Identifier: GPL-2.0-or-later
"""What an open image is called in output: its file's name where that says all, else ``json:{...}``.

QEMU: bdrv_refresh_filename, with the options that it calls strong: those that change what is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from asyncemu.block.node import BlockNode
from asyncemu.cli.tools.qemu_json import compact

#: By driver: options that are part of what an image is. Those of other drivers all are.
_STRONG: Final[Mapping[str, tuple[str, ...]]] = {
    "raw": ("offset", "size"),
    "qcow2": (),
    "file": ("filename",),
    "host_device": ("filename",),
}

#: How to open something and not what it is: never part of a name.
_WEAK: Final = frozenset({"read-only", "auto-read-only", "force-share", "discard", "detect-zeroes", "cache", "backing"})


def filename_of(node: BlockNode) -> str:
    """The name of the image that ``node`` is."""
    return plain_name(node) or "json:" + compact(full_options(node))


def plain_name(node: BlockNode) -> str:
    """Its name when that is enough to open it again, else empty."""
    if node.driver.name in ("file", "host_device"):
        return str(node.driver.options.filename)
    edge = node.primary_child
    if edge is not None and (node.driver.is_format or node.driver.name in ("copy-on-read", "throttle")):
        own = [key for key in _strong(node) if key != edge.name]
        return "" if own or not node.driver.is_format else plain_name(edge.node)
    exact: str = getattr(node.driver, "exact_filename", "")
    return exact


def full_options(node: BlockNode) -> dict[str, Any]:
    """Options that open it again."""
    children = {edge.name: full_options(edge.node) for edge in node.children if edge.name != "backing"}
    return {"driver": node.driver.name, **_strong(node), **children}


def _strong(node: BlockNode) -> dict[str, Any]:
    given: dict[str, Any] = node.driver.options.given()
    children = {slot.name for slot in node.driver.children}
    names = _STRONG.get(node.driver.name)
    return {
        key: value
        for key, value in given.items()
        if key not in _WEAK and key not in children and (names is None or key in names)
    }


def full_backing_name(image: str, backing: str) -> str | None:
    """The backing file that an image named ``image`` calls ``backing``; None: a name relative to what has no place.

    QEMU: bdrv_get_full_backing_filename_from_filename, path_combine.
    """
    if not backing or has_protocol(backing) or backing.startswith("/"):
        return backing
    if image.startswith("json:"):
        return None
    prefix = ""
    if has_protocol(image):
        protocol, _, image = image.partition(":")
        prefix = protocol + ":"
        if image.startswith("//") and "/" not in image[2:]:
            image += "/"
    return prefix + image[: image.rfind("/") + 1] + backing


def has_protocol(name: str) -> bool:
    """Does ``name`` begin with ``protocol:``? A colon behind a slash is a part of a file's name."""
    colon, slash = name.find(":"), name.find("/")
    return colon >= 0 and (slash < 0 or colon < slash)
