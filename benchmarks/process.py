# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulator as a child process: when its guest printed what, and what the process costs.

Sources: proc(5) for /proc/PID/stat and /proc/PID/smaps.
"""

from __future__ import annotations

import os
import re
import selectors
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from benchmarks.errors import BenchmarkError

#: How much of the output an error message quotes: bytes.
_QUOTED: Final = 300


class GuestProcess:
    """Runs ``command``; its standard input stays open and silent, as at a terminal where nobody types.

    A Python program keeps its compiled modules, as an installed one does, whatever this environment says.
    Times are seconds from just before the process was made. ``timeout`` counts from there too. Use it as a context
    manager: the process is killed at its end.
    """

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self._output = bytearray()
        self._searched = 0
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._start = time.monotonic()
        try:
            self._process = subprocess.Popen(
                command,
                cwd=directory,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
            )
        except OSError as error:
            raise BenchmarkError(f"{command[0]}: {error.strerror}") from error
        assert self._process.stdout is not None
        self._stdout = self._process.stdout.fileno()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)

    @property
    def pid(self) -> int:
        """Of the emulator."""
        return self._process.pid

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self._output.decode(errors="replace")

    def wait_for(self, text: bytes, timeout: float) -> float:
        """When ``text`` had been printed. BenchmarkError when the process ends or the time is up before."""
        while (found := self._output.find(text, self._searched)) < 0:
            # The text may come in two halves.
            self._searched = max(0, len(self._output) - len(text) + 1)
            if not self._read(timeout):
                raise self._failed(f"ended before it printed {text.decode()!r}")
        self._searched = found + len(text)
        return self._read_at

    def wait_for_exit(self, timeout: float) -> float:
        """When the process had ended, with status 0. BenchmarkError otherwise."""
        while self._read(timeout):
            pass
        try:
            status = self._process.wait(max(0.0, self._start + timeout - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._failed("closed its output but did not end") from None
        if status != 0:
            raise self._failed(f"ended with status {status}")
        return time.monotonic() - self._start

    def let_run(self, seconds: float) -> None:
        """Take its output for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._selector.select(left) and not self._take():
                raise self._failed("ended while it was to run on")

    def _read(self, timeout: float) -> bool:
        """Take some output, waiting for it; False at its end."""
        left = self._start + timeout - time.monotonic()
        if left <= 0 or not self._selector.select(left):
            raise self._failed(f"was not done after {timeout:g} s")
        return self._take()

    def _take(self) -> bool:
        data = os.read(self._stdout, 1 << 16)
        self._read_at = time.monotonic() - self._start
        self._output += data
        return bool(data)

    def _failed(self, problem: str) -> BenchmarkError:
        tail = self._output[-_QUOTED:].decode(errors="replace").strip()
        return BenchmarkError(f"{self._process.args!r} {problem}; its last output: {tail or 'none'}")

    def __enter__(self) -> GuestProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


def cpu_seconds(pid: int) -> float:
    """CPU time that all threads of a process have used, in user and kernel mode."""
    return parse_stat(Path(f"/proc/{pid}/stat").read_text()) / os.sysconf("SC_CLK_TCK")


def parse_stat(text: str) -> int:
    """utime + stime of a /proc/PID/stat line, in clock ticks."""
    # The command's name, in parentheses, may hold anything; utime is field 14, and the first one behind it field 3.
    fields = text[text.rindex(")") + 1 :].split()
    return int(fields[11]) + int(fields[12])


@dataclass(frozen=True, slots=True)
class Mapping:
    """One mapping of a process: sizes in bytes, ``name`` of the file or "" for anonymous memory."""

    size: int
    resident: int
    permissions: str
    name: str


_MAPPING: Final = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \S+ *(.*)")
_RESIDENT: Final = re.compile(r"Rss: +(\d+) kB")


def parse_smaps(text: str) -> list[Mapping]:
    """The mappings of a /proc/PID/smaps file."""
    mappings: list[Mapping] = []
    for line in text.splitlines():
        if head := _MAPPING.fullmatch(line):
            start, end, permissions, name = head.groups()
            mappings.append(Mapping(int(end, 16) - int(start, 16), 0, permissions, name))
        elif mappings and (resident := _RESIDENT.fullmatch(line)):
            last = mappings.pop()
            mappings.append(Mapping(last.size, int(resident[1]) * 1024, last.permissions, last.name))
    return mappings


def resident_beyond(mappings: Iterable[Mapping], is_guest_ram: Callable[[Mapping], bool]) -> int:
    """Resident bytes in all mappings but guest RAM. BenchmarkError when guest RAM is not among them."""
    guest_ram, others = 0, 0
    for mapping in mappings:
        if is_guest_ram(mapping):
            guest_ram += 1
        else:
            others += mapping.resident
    if not guest_ram:
        raise BenchmarkError("guest RAM was not found among the emulator's mappings")
    return others
