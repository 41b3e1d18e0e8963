# SPDX-License-Identifier: GPL-2.0-or-later
"""From an image's name or option string to the table that BlockGraph.add_table takes.

    image_table("disk.qcow2")             {"file": {"driver": "file", "filename": "disk.qcow2"}}
    image_table("disk.img", "raw")        {"driver": "raw", "file": {"driver": "file", "filename": "disk.img"}}
    image_table("nbd://host/disk")        {"file": {"driver": "nbd", "server": {...}, "export": "disk"}}
    image_table('json:{"driver": ...}')   the object, with dotted keys nested
    options_table("driver=raw,file.filename=disk.img")

A table without ``driver`` is of an image whose format is to be looked at. Nothing is opened here; a plain name is only
looked up, to tell devices from files. Errors are ConfigError, with the words of qemu-img 7.2 as the problem.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncemu.block.naming.protocols import driver_table, is_protocol, named_child, protocol_table
from asyncemu.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncemu.block.naming.qemu_opts import Opt


def image_table(name: str, driver: str | None = None) -> dict[str, Any]:
    """The image ``name``, of the format ``driver`` or of one that is to be looked at. QEMU: bdrv_fill_options."""
    if name.startswith("json:"):
        from asyncemu.block.naming.json_names import json_options
        from asyncemu.block.naming.node_tables import completed

        options = json_options(name)
        return completed({**options, "driver": driver} if driver is not None else options)
    if driver is None:
        return {"file": protocol_table(name)}
    if is_protocol(driver):
        return driver_table(driver, name)
    return {"driver": driver, "file": protocol_table(name)}


def table_of_name(name: str) -> dict[str, Any]:
    """The node below any format that holds what is called ``name``; of ``json:{...}`` the node that it describes."""
    return named_child(name)


def options_table(text: str) -> dict[str, Any]:
    """The image that the argument of --image-opts describes; a node-name alone is ``file``'s. QEMU: img_open_opts."""
    from asyncemu.block.naming.node_tables import completed
    from asyncemu.block.naming.qemu_opts import parse_opts
    from asyncemu.block.naming.tables import nested

    return completed(nested((key, value) for key, value, _ in _checked(parse_opts(text, "file"))))


def _checked(opts: Sequence[Opt]) -> Sequence[Opt]:
    given = {opt.key: opt.value for opt in opts}
    for child in ("file", "backing", "data-file"):
        if child in given and any(key.startswith(f"{child}.") for key in given):
            problem = "Cannot reference an existing block device with additional options or a new filename"
            raise ConfigError(child, problem)
    return opts
