# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of devices cost: a thousand of them, as an author writes them, run by pytest.

Each test has a bench of its own with the metronome or the reverser of the guides. They are 100 functions of 10 cases
each, in 10 files, in the proportion of what is driven: registers with a clock that jumps, and a queue.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError

FILES: Final = 10
FUNCTIONS: Final = 10
CASES: Final = 10
#: Seconds for all of them.
GOAL_S: Final = 10.0

_GUIDES: Final = Path(__file__).resolve().parents[1] / "examples" / "guides"

_HEAD: Final = """\
import pytest
from metronome import Metronome, MetronomeOptions
from reverse import Reverse, ReverseOptions

from asyncemu.loop import Clocks
from asyncemu.testing import DeviceBench, FakeClock
"""

_MMIO: Final = """

@pytest.mark.parametrize("case", range({cases}))
async def test_metronome_{number}(case):
    time = FakeClock()
    async with DeviceBench(clocks=Clocks(time)) as bench:
        _, registers = await bench.add_mmio(Metronome, MetronomeOptions())
        await registers.write64(0x00, 1_000_000 * (case + 1))
        await registers.read64(0x00)
        time.advance(2_000_000 * (case + 1))
        assert await registers.read32(0x08) == 2
        assert registers.irq.level
"""

_VIRTIO: Final = """

@pytest.mark.parametrize("case", range({cases}))
async def test_reverse_{number}(case):
    async with DeviceBench() as bench:
        _, driver = await bench.add_virtio(Reverse, ReverseOptions())
        await driver.start()
        buffer = await driver.queues[0].request([b"%d!" % case], [8])
        assert buffer.answer == b"!%d" % case
"""


def write_tests(directory: Path, files: int = FILES) -> int:
    """Write so many files of tests there, with the devices that they are for; how many tests."""
    for guide, name in (("mmio-device", "metronome.py"), ("virtio-device", "reverse.py")):
        (directory / name).write_text((_GUIDES / guide / name).read_text())
    for file in range(files):
        bodies = ((_MMIO, _VIRTIO)[number % 2].format(number=number, cases=CASES) for number in range(FUNCTIONS))
        (directory / f"test_devices_{file}.py").write_text(_HEAD + "".join(bodies))
    return files * FUNCTIONS * CASES


def measure(files: int = FILES) -> float:
    """Seconds that pytest takes for all of them, from its start to its end. BenchmarkError when one fails."""
    with tempfile.TemporaryDirectory(prefix="asyncemu-kit-") as directory:
        count = write_tests(Path(directory), files)
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--asyncio-mode=auto"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
        began = time.perf_counter()
        done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
    if done.returncode or not re.search(rf"^{count} passed", done.stdout, re.M):
        said = (done.stdout.strip() or done.stderr.strip() or "pytest says nothing").splitlines()
        raise BenchmarkError(f"kit tests: {said[-1]}")
    return seconds


def main() -> int:
    """Print the figure; 0: the goal is reached."""
    seconds = measure()
    print(f"{FILES * FUNCTIONS * CASES} device-kit tests: {seconds:.1f} s (goal: {GOAL_S:.0f} s)")
    return 0 if seconds <= GOAL_S else 1


if __name__ == "__main__":
    sys.exit(main())
