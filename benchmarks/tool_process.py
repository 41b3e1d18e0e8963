# SPDX-License-Identifier: GPL-2.0-or-later
"""A tool run to its end: how long it took, or what it says that it took."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from typing import Final

from benchmarks.errors import BenchmarkError

#: Seconds after which a run is given up.
_LIMIT: Final = 300
_completed = re.compile(r"Run completed in ([0-9.]+) seconds")


def run(command: Sequence[str]) -> str:
    """Its standard output. BenchmarkError when it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, env=environment)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchmarkError(f"{' '.join(command)}: {error}") from error
    if ended.returncode:
        raise BenchmarkError(f"{' '.join(command)}: exit status {ended.returncode}: {ended.stderr.strip()[-300:]}")
    return ended.stdout


def seconds(command: Sequence[str]) -> float:
    """From its start to its end."""
    start = time.perf_counter()
    run(command)
    return time.perf_counter() - start


def bench_microseconds(command: Sequence[str], requests: int) -> float:
    """A request of ``img bench``, as it says itself."""
    output = run(command)
    found = _completed.search(output)
    if found is None:
        raise BenchmarkError(f"{' '.join(command)}: no result in {output[-300:]!r}")
    return float(found[1]) / requests * 1e6
