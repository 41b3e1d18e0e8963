# SPDX-License-Identifier: GPL-2.0-or-later
"""Two ends on a bad wire: bytes arrive whole and in order, and both ends close."""

from __future__ import annotations

import pytest

from tests.net.tcp.simulation import Simulation


@pytest.mark.parametrize("start", range(0, 60, 10))
def test_transfer_over_bad_wire_arrives_whole(start: int) -> None:
    for seed in range(start, start + 10):
        simulation = Simulation(seed)

        simulation.run()

        simulation.check()


@pytest.mark.soak
@pytest.mark.parametrize("start", range(1000, 3000, 100))
def test_transfer_over_bad_wire_of_many_kinds_arrives_whole(start: int) -> None:
    for seed in range(start, start + 100):
        simulation = Simulation(seed)

        simulation.run()

        simulation.check()
