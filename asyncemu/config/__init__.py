# SPDX-License-Identifier: GPL-2.0-or-later
"""vm.toml: reading, checking, and what to build from it."""

from asyncemu.config.load import load
from asyncemu.config.vm import VmConfig

__all__ = ["VmConfig", "load"]
