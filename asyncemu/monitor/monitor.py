# SPDX-License-Identifier: GPL-2.0-or-later
"""Monitor: what commands see of the connection that they came by."""

from __future__ import annotations

from typing import Protocol


class Monitor(Protocol):
    """One of a machine's monitors, whatever it speaks."""

    @property
    def id(self) -> str:
        """Its name in vm.toml, or one made up."""
