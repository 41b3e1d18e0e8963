# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line: ``python -m asyncemu vm.toml`` and its sisters. One file a command."""

from asyncemu.cli.main import main

__all__ = ["main"]
