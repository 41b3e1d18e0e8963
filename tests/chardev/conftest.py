# SPDX-License-Identifier: GPL-2.0-or-later
"""A back end as vm.toml would make it, closed at the end of the test."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from asyncemu.chardev import Chardev
from asyncemu.loop import AioContext
from asyncemu.plugin_options import configure
from tests.chardev.recorder import Messages

#: The class is that of the back end; Any spares the tests a cast.
MakeChardev = Callable[..., Any]


@pytest.fixture
async def messages() -> AsyncIterator[Messages]:
    """What the chardevs log during the test."""
    handler = Messages()
    logger = logging.getLogger("asyncemu.chardev")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
async def make_chardev(context: AioContext, tmp_path: Path) -> AsyncIterator[MakeChardev]:
    """``make_chardev("file", path="out")``: relative paths are below tmp_path."""
    made: list[Chardev[Any]] = []

    def make(backend: str, **keys: Any) -> Any:
        table = {"backend": backend, **{key.replace("_", "-"): value for key, value in keys.items()}}
        configured = configure("chardev", table, "chardev[0]", tmp_path)
        plugin: Any = configured.plugin
        chardev: Chardev[Any] = plugin(configured.options, "console", context)
        made.append(chardev)
        return chardev

    yield make
    for chardev in made:
        await chardev.close()
