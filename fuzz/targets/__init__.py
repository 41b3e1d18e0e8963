# SPDX-License-Identifier: GPL-2.0-or-later
"""The targets, one a module; the module's name is the target's."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

#: Modules of this folder.
NAMES: Final = (
    "qcow2_image",
    "qcow2_mutation",
    "nbd_server",
    "nbd_client",
    "image_name",
    "tool_words",
    "virtqueue",
    "packet",
    "net_service",
    "qmp_client",
    "hmp_user",
    "net_stream",
    "net_control",
    "chardev_codec",
)


class Target(NamedTuple):
    """One of them."""

    name: str
    #: The first line of its docstring.
    summary: str
    fuzz_one: Callable[[bytes], None]
    seeds: Callable[[], Sequence[bytes]]


def load(name: str) -> Target:
    """The target of this name, one of NAMES. Imports what it tests."""
    module = importlib.import_module(f"{__name__}.{name}")
    summary = (module.__doc__ or "").partition("\n")[0]
    return Target(name, summary, module.fuzz_one, module.seeds)
