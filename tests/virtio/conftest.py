# SPDX-License-Identifier: GPL-2.0-or-later
"""A bench, and a model device whose driver is up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from asyncemu.options import Options
from asyncemu.testing import DeviceBench, VirtioDriver
from tests.bench import bench as bench
from tests.iothreads import iothreads as iothreads
from tests.virtio.models import Model


@dataclass
class Running:
    """A device and its driver."""

    device: Model
    driver: VirtioDriver


@pytest.fixture
async def model(bench: DeviceBench) -> AsyncIterator[Running]:
    """A Model in a slot, not started."""
    device, driver = await bench.add_virtio(Model, Options())
    yield Running(device, driver)
    # Nothing may be left waiting when the bench closes.
    device.gate.set()


@pytest.fixture
async def running(model: Running) -> Running:
    """A Model that has been started with all features."""
    await model.driver.start()
    return model
