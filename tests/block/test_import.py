# SPDX-License-Identifier: GPL-2.0-or-later
"""What importing the block layer loads: the tools, which start often, wait for it each time."""

from __future__ import annotations

import subprocess
import sys

import pytest

from asyncemu.builtin import BUILTIN

#: Each takes many milliseconds, or has no business in a tool.
HEAVY = (
    "pydantic",
    "pydantic_core",
    "uvloop",
    "unicorn",
    "pathlib",
    "json",
    "fractions",
    "importlib.metadata",
    "tomllib",
)


def loaded(*modules: str) -> list[str]:
    """Those of HEAVY that a fresh interpreter has after it imported ``modules``."""
    code = f"import sys, {', '.join(modules)}; print(*(name for name in {HEAVY} if name in sys.modules))"
    # Without site: what other distributions start with is not ours to avoid.
    command = [sys.executable, "-S", "-c", code]
    environment = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()


def test_import_block_loads_nothing_heavy() -> None:
    assert loaded("asyncemu.block", "asyncemu.block.image_options", "asyncemu.block.node_filename") == []


@pytest.mark.parametrize("name", sorted(BUILTIN["blockdev"]))
def test_import_block_driver_loads_nothing_heavy(name: str) -> None:
    assert loaded(BUILTIN["blockdev"][name]) == []


def test_options_of_a_driver_are_checked_without_pydantic() -> None:
    code = (
        "import sys\n"
        "from asyncemu.plugin_options import configure\n"
        "configure('blockdev', {'driver': 'file', 'filename': 'x', 'cache': {'direct': 'on'}}, 'here')\n"
        "print('pydantic' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
