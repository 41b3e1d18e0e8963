# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading from an internal snapshot: ``-l`` of convert and measure. QEMU: bdrv_snapshot_load_tmp."""

from __future__ import annotations

import errno

from asyncemu.cli.tools.failure import ToolError, errno_of, in_qemus_words
from asyncemu.cli.tools.opening import Image
from asyncemu.cli.tools.option_strings import BadOptions, split_options, warn_of_short_forms
from asyncemu.errors import AsyncemuError

_PREFIX = "snapshot."


async def load_snapshot(image: Image, parameter: str) -> None:
    """Read from the snapshot that ``parameter`` chooses: an id or a name, or ``snapshot.id=...,snapshot.name=...``.

    ToolError.
    """
    driver = image.node.driver
    identity, name = _chosen(parameter)
    if not driver.defines("snapshot_load"):
        problem = (
            f"Block format '{driver.name}' used by device '' does not support temporarily loading internal snapshots"
        )
        raise _failed(problem)
    if identity is None and name is None:
        # An id is looked for first.
        snapshots = await driver.snapshot_list()
        found = next((each for each in snapshots if each.id == parameter), None)
        found = found or next((each for each in snapshots if each.name == parameter), None)
        if found is None:
            raise _failed("Can't find snapshot")
        identity, name = found.id, found.name
    try:
        await driver.snapshot_load(identity or "", name or "")
    except (AsyncemuError, OSError) as error:
        number = errno_of(error)
        words = "Can't find snapshot" if number == errno.ENOENT else in_qemus_words(error)
        raise _failed(words) from error
    image.node.size = driver.node.size


def _chosen(parameter: str) -> tuple[str | None, str | None]:
    if not parameter.startswith(_PREFIX):
        return None, None
    failed = f"Failed in parsing snapshot param '{parameter}'"
    try:
        warn_of_short_forms(parameter)
    except BadOptions as error:
        raise ToolError(*error.messages, failed) from error
    identity = name = None
    for key, value in split_options(parameter):
        if key == "snapshot.id":
            identity = value
        elif key == "snapshot.name":
            name = value
        else:
            raise ToolError(f"Invalid parameter '{key}'", failed)
    return identity, name


def _failed(words: str) -> ToolError:
    return ToolError(f"Failed to load snapshot: {words}")
