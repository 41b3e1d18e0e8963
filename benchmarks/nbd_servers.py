# SPDX-License-Identifier: GPL-2.0-or-later
"""An NBD server as a child process, and what clients of libnbd measure through it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from benchmarks.errors import BenchmarkError
from benchmarks.tool_process import run, seconds

OURS: Final = (sys.executable, "-m", "asyncemu", "nbd")
PEER: Final = ("qemu-nbd",)

#: Seconds that a server may take until it listens.
_PATIENCE: Final = 20
#: Seconds of one measurement of latency.
_RUNTIME: Final = 4


class NbdServerProcess:
    """Runs ``command``, which listens at ``socket``, for as long as the ``with`` block."""

    def __init__(self, command: Sequence[str], socket: Path) -> None:
        socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + _PATIENCE
        while not socket.exists():
            if self._process.poll() is not None or time.monotonic() > end:
                self._process.kill()
                _, errors = self._process.communicate()
                raise BenchmarkError(f"{' '.join(command)}: does not listen: {errors.decode()[-300:]}")
            time.sleep(0.01)

    def __enter__(self) -> NbdServerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.communicate(timeout=_PATIENCE)


def read_latency(uri: str, *, depth: int, jobs: int) -> float:
    """Microseconds of a random 4 KiB read, at the median, as fio sees it; ``jobs`` connections at once."""
    output = run(
        [
            *("fio", "--name=read", "--ioengine=nbd", f"--uri={uri}", "--rw=randread", "--bs=4k", "--thread"),
            *(f"--iodepth={depth}", f"--numjobs={jobs}", "--group_reporting", "--time_based", f"--runtime={_RUNTIME}"),
            "--output-format=json",
        ]
    )
    # Some builds print a line of their own first.
    report = json.loads(output[output.index("{") :])
    job = report["jobs"][0]
    if job["error"]:
        raise BenchmarkError(f"fio: error {job['error']} from {uri}")
    return float(job["read"]["clat_ns"]["percentile"]["50.000000"]) / 1000


def copy_seconds(uri: str) -> float:
    """Seconds to read everything with nbdcopy."""
    return seconds(["nbdcopy", uri, "null:"])
