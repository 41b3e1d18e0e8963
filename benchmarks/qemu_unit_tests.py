# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own figures: its unit tests, built from Debian's source package, and what ``test-coroutine -m perf`` prints.

The build takes some two minutes on two cores, needs 600 MB for that time and is done once; only the two programs are
kept, below guests/cache. Nothing but a benchmark asks for it.

What they tell. test-coroutine has five measurements; /perf/nesting takes three minutes (a stack is mapped and unmapped
for each of 10,000,000 coroutines) and has no counterpart of ours, so it is not run. **test-aio times nothing**: its
tests check behaviour and sleep in between, and a process around one call of the event loop measures the process. It is
built so that whoever doubts it can look.

Sources: QEMU's tests/unit/test-coroutine.c and test-aio.c; GLib's g_test_init for the options.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.errors import BenchmarkError
from guests import cache
from guests.apt import PrivateApt, tool
from guests.errors import FetchError
from guests.fetch import cache_root
from guests.sources import Source, debian_mirrors, machine_sources

PROGRAMS: Final = ("test-coroutine", "test-aio")
#: What is built from, by Debian's names. python3-venv is what configure wants from QEMU 8.1 on.
PACKAGES: Final = (
    *("dpkg-dev", "gcc", "libc6-dev", "libglib2.0-dev", "zlib1g-dev"),
    *("meson", "ninja-build", "pkg-config", "python3-venv"),
)
#: The unit tests of the block layer's parts are among the tools.
_CONFIGURE: Final = (
    *("--without-default-features", "--disable-system", "--disable-user", "--enable-tools", "--disable-docs"),
    "--disable-werror",
)
_ROOT: Final = Path(__file__).resolve().parent.parent
#: For one step of the build, which takes at most two minutes on an idle machine, and for the measurements. Seconds.
_TIMEOUT: Final = 1800.0

_TESTS: Final = ("/perf/lifecycle", "/perf/yield", "/perf/function-call", "/perf/cost")


@dataclass(frozen=True, slots=True)
class CoroutineFigures:
    """Of test-coroutine, in µs."""

    #: Create, enter, return at once.
    lifecycle: float
    #: Enter, yield back: two switches.
    yield_cycle: float
    #: A function call that the compiler may not inline: how fast the machine is.
    function_call: float
    #: Create, enter, yield, enter again, return.
    cost: float


#: Of QEMU 7.2.22 on Debian 12, taken on this project's two-core machine: for where it can't be built. QEMU's developers
#: publish no such figures with a machine to go with them.
RECORDED: Final = CoroutineFigures(lifecycle=0.111, yield_cycle=0.0722, function_call=0.0016, cost=0.168)


@dataclass(frozen=True, slots=True)
class UnitTests:
    """The programs, and the version of Debian's source package that they come from."""

    directory: Path
    version: str

    @property
    def coroutine(self) -> Path:
        return self.directory / "test-coroutine"

    @property
    def aio(self) -> Path:
        return self.directory / "test-aio"


def ensure(note: Callable[[str], None], root: Path | None = None) -> UnitTests:
    """The programs, built if need be. BenchmarkError, with the reason, where that is not possible."""
    directory = (root or cache_root()) / "qemu-unit-tests"
    try:
        with cache.locked(directory):
            if (found := _find(directory)) is None:
                with cache.stage(directory) as work:
                    _build(directory, work, note)
                found = _find(directory)
    except FetchError as error:
        raise BenchmarkError(f"QEMU's unit tests can't be built: {error}") from error
    except OSError as error:
        raise BenchmarkError(f"QEMU's unit tests can't be built: {error.filename}: {error.strerror}") from error
    assert found is not None
    return found


def _find(directory: Path) -> UnitTests | None:
    version = directory / "version"  # written last
    if not version.is_file() or not all((directory / name).is_file() for name in PROGRAMS):
        return None
    return UnitTests(directory, version.read_text().strip())


class _SourceApt(PrivateApt):
    """PrivateApt for source packages."""

    def __init__(self, root: Path, mirror: Source, suite: str, architecture: str) -> None:
        super().__init__(root, mirror, suite, architecture)
        sources = root / "sources.list"
        sources.write_text("deb-src" + sources.read_text().removeprefix("deb"))

    def unpack(self, package: str, into: Path) -> tuple[Path, str]:
        """Fetch and unpack the newest version: its directory, and the version. FetchError."""
        self._run("apt-get", "source", "--only-source", package, cwd=into)
        unpacked = [path for path in into.glob(f"{package}-*") if path.is_dir()]
        described = list(into.glob(f"{package}_*.dsc"))
        if not unpacked or not described:
            raise FetchError(f"suite {self.suite}: source package {package} was not unpacked")
        return unpacked[0], described[0].stem.partition("_")[2]


def _build(directory: Path, work: Path, note: Callable[[str], None]) -> None:
    note("building QEMU's unit tests from Debian's source package: some two minutes, once")
    _step([str(_ROOT / "scripts" / "install-packages"), *PACKAGES], work)
    mirrors = debian_mirrors(machine_sources())
    if not mirrors:
        raise FetchError("no entry of /etc/apt/sources.list or sources.list.d serves Debian's main component")
    architecture = _step([tool("dpkg"), "--print-architecture"], work).strip()
    apt = _SourceApt(work / "apt", mirrors[0], mirrors[0].suites[0], architecture)
    apt.update()
    unpacked = work / "source"
    unpacked.mkdir()
    source, version = apt.unpack("qemu", unpacked)
    build = work / "build"
    build.mkdir()
    _step([str(source / "configure"), *_CONFIGURE], build)
    _step([tool("ninja"), "-j2", *(f"tests/unit/{name}" for name in PROGRAMS)], build)
    for name in PROGRAMS:
        shutil.copy2(build / "tests" / "unit" / name, directory / name)
    (directory / "version").write_text(version + "\n")


def _step(command: Sequence[str], directory: Path) -> str:
    name = Path(command[0]).name
    # Debian's tools among themselves: its meson needs its python3, which a virtual environment's would hide.
    environment = {**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT
        )
    except subprocess.TimeoutExpired:
        raise FetchError(f"{name} took more than {_TIMEOUT:g} s") from None
    if done.returncode != 0:
        said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in said if re.match(r"(.*:)? ?(ERROR|FAILED|E:|error:)", line)]
        raise FetchError(f"{name} failed: {(errors or said or ['it said nothing'])[-1]}")
    return done.stdout


_PATTERNS: Final = {
    "lifecycle": r"Lifecycle (?P<count>\d+) iterations: (?P<seconds>[\d.]+) s",
    "yield_cycle": r"Yield (?P<count>\d+) iterations: (?P<seconds>[\d.]+) s",
    "function_call": r"Function call (?P<count>\d+) iterations: (?P<seconds>[\d.]+) s",
    "cost": r"Run operation (?P<count>\d+) iterations (?P<seconds>[\d.]+) s",
}


def parse_perf(output: str) -> CoroutineFigures:
    """What ``test-coroutine -m perf`` printed. BenchmarkError when a figure is missing."""
    figures: dict[str, float] = {}
    for name, pattern in _PATTERNS.items():
        found = re.search(pattern, output)
        if found is None or not int(found["count"]):
            raise BenchmarkError(f"test-coroutine gave no figure for {name}")
        try:
            figures[name] = float(found["seconds"]) * 1e6 / int(found["count"])
        except ValueError:
            raise BenchmarkError(f"test-coroutine gave {found['seconds']!r} seconds for {name}") from None
    return CoroutineFigures(**figures)


def measure(program: Path) -> CoroutineFigures:
    """Run it: 20 s. BenchmarkError when it fails."""
    tests = [word for test in _TESTS for word in ("-p", test)]
    try:
        return parse_perf(_step([str(program), "-m", "perf", *tests], program.parent))
    except (FetchError, OSError) as error:
        raise BenchmarkError(f"{program}: {error}") from error
