# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark of monitors: it asks a real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import control
from benchmarks.control import AtRest
from benchmarks.errors import BenchmarkError


@pytest.mark.slow
def test_at_rest_asks_a_machine_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "COMMANDS", 5)

    replies = AtRest(tmp_path).ours()

    assert 0 < replies.median <= replies.p99


async def test_ask_where_nobody_is_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"^the monitor at .*no\.sock: Failed to establish connection"):
        await control._ask(tmp_path / "no.sock", 1, lambda: True)
