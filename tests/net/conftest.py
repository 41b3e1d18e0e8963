# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle: another implementation of the formats."""

from __future__ import annotations

import warnings
from typing import Any

import pytest


@pytest.fixture(scope="session")
def scapy() -> Any:
    """The module scapy.all, which takes a second to import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scapy.all
    return scapy.all
