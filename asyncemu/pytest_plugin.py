# SPDX-License-Identifier: GPL-2.0-or-later
"""Fixtures for test suites that boot machines: ``pytest_plugins = ["asyncemu.pytest_plugin"]`` in a conftest.py.

    async def test_kernel_boots(machine, scratch_disk):
        disk = scratch_disk("64M")
        vm = await machine("vm.toml", overrides=[f"blockdev.disk0.filename={disk}"])
        assert (await vm.run("cat /proc/version")).output.startswith("Linux")

machine         makes machines (``asyncemu.Machine``), and closes them after the test
scratch_disk    makes images in the test's own directory
wire            the other end of a netdev of type ``memory``
virtual_clock   time that the test moves: ``await machine(..., clocks=Clocks(virtual_clock))``

A test that fails shows what each of its machines wrote last, what its threads did last, and what held its loops up.
It needs pytest-asyncio; the fixtures work in both of its modes, on asyncio's loop and on uvloop's.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from asyncemu.api import Machine
from asyncemu.testing.failure_report import Watch
from asyncemu.testing.fake_clock import FakeClock
from asyncemu.testing.memory_wire import MemoryNetdev

MakeMachine = Callable[..., Awaitable[Machine]]
MakeDisk = Callable[..., Path]
FindWire = Callable[[Machine, str], MemoryNetdev]

_WATCH: Final = pytest.StashKey[Watch]()


@pytest_asyncio.fixture
async def machine(request: pytest.FixtureRequest) -> AsyncIterator[MakeMachine]:
    """``await machine(config, ...)``: a machine that runs; the arguments are those of asyncemu.Machine."""
    watch = request.node.stash[_WATCH] = Watch()
    machines: list[Machine] = []

    async def make(*arguments: Any, **options: Any) -> Machine:
        made = Machine(*arguments, **options)
        await made.__aenter__()
        machines.append(made)
        watch.add(made)
        return made

    try:
        # Closing holds loops up, and is not meant.
        with watch:
            yield make
    finally:
        for each in reversed(machines):
            await each.__aexit__(None, None, None)


@pytest.fixture
def scratch_disk(tmp_path: Path) -> MakeDisk:
    """``scratch_disk(size, format="qcow2", backing=None)``: an empty image, or an overlay of the image ``backing``.

    ``size`` as asyncemu-img takes it: "64M", "1G"; None with ``backing``: as large as that. A backing image is raw
    unless ``backing_format`` says otherwise.
    """
    count = 0

    def make(
        size: str | None = "64M",
        format: str = "qcow2",
        backing: Path | None = None,
        backing_format: str = "raw",
    ) -> Path:
        nonlocal count
        path = tmp_path / f"scratch{count}.{format}"
        count += 1
        over = [] if backing is None else ["-b", str(backing.resolve()), "-F", backing_format]
        command = [sys.executable, "-m", "asyncemu", "img", "create", "-q", "-f", format, *over, str(path)]
        done = subprocess.run(
            [*command, *([] if size is None else [size])], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ValueError(done.stderr.strip())
        return path

    return make


@pytest.fixture
def wire() -> FindWire:
    """``wire(vm, "net0")``: the test's end of that netdev, of type ``memory``: ``feed`` frames, look at ``frames``."""

    def find(vm: Machine, id: str) -> MemoryNetdev:
        netdev = vm.parts.net.netdevs[id]
        if not isinstance(netdev, MemoryNetdev):
            raise TypeError(f'netdev {id!r} is of type {type(netdev).name!r}; write type = "memory"')
        return netdev

    return find


@pytest.fixture
def virtual_clock() -> FakeClock:
    """A clock that stands still until ``advance(ns)``."""
    return FakeClock()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to the report of a test that failed what its machines can tell."""
    report = yield
    watch = item.stash.get(_WATCH, None)
    if watch is not None and report.failed and report.when == "call":
        report.sections += watch.sections()
    return report
