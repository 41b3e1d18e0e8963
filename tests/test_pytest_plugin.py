# SPDX-License-Identifier: GPL-2.0-or-later
"""The plug-in in a pytest of its own, as a user has it."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from tests.api.guests import echo_machine

pytest_plugins = ["pytester"]

HEAD = """
import asyncio
import pytest
from asyncemu.loop import Clocks
pytest_plugins = ["asyncemu.pytest_plugin"]
VM = {vm!r}
"""


def run(pytester: pytest.Pytester, directory: Path, body: str, *arguments: str) -> pytest.RunResult:
    """Run a file of tests; ``VM`` is the configuration of the echoing guest."""
    pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(HEAD.format(vm=echo_machine(directory)) + textwrap.dedent(body))
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)


def test_machine_fixture_boots_and_closes(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(
        pytester,
        tmp_path,
        """
        async def test_guest_greets(machine):
            vm = await machine(VM)
            assert await vm.console.expect("hello")
        """,
    )

    result.assert_outcomes(passed=1)


def test_machine_fixture_in_strict_mode(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(
        pytester,
        tmp_path,
        """
        @pytest.mark.asyncio
        async def test_guest_greets(machine):
            vm = await machine(VM)
            assert await vm.console.expect("hello")
        """,
        "--asyncio-mode=strict",
    )

    result.assert_outcomes(passed=1)


def test_failure_shows_console_and_trace(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(
        pytester,
        tmp_path,
        """
        async def test_guest_says_something_else(machine):
            vm = await machine(VM)
            await vm.console.expect("hello")
            assert False
        """,
    )

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*console of machine 0*", "hello", "*what the machines' threads did*", "*vCPU*"])


def test_failure_shows_what_held_the_loop(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(
        pytester,
        tmp_path,
        """
        import time

        async def test_loop_is_held(machine):
            vm = await machine(VM)
            time.sleep(0.5)
            await vm.console.expect("hello")
            await asyncio.sleep(0)
            assert False
        """,
    )

    result.stdout.fnmatch_lines(["*stalls*", "*held the loop for*"])


def test_failure_without_a_machine_shows_nothing_more(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(pytester, tmp_path, "def test_plain():\n    assert False\n")

    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*console of machine*")


def test_scratch_disk_makes_images_and_overlays(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(
        pytester,
        tmp_path,
        """
        def test_disks(scratch_disk):
            base = scratch_disk("1M", format="raw")
            overlay = scratch_disk(None, backing=base)
            assert base.stat().st_size == 1 << 20
            assert overlay.read_bytes()[:4] == b"QFI\\xfb"
            with pytest.raises(ValueError, match="Invalid image size specified"):
                scratch_disk("much")
        """,
    )

    result.assert_outcomes(passed=1)


def test_wire_is_the_tests_end_of_a_netdev(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(
        pytester,
        tmp_path,
        """
        async def test_wire(machine, wire):
            vm = await machine({**VM, "netdev": [{"id": "net0", "type": "memory"}, {"id": "net1", "type": "null"}]})
            assert wire(vm, "net0").frames == []
            with pytest.raises(TypeError, match="netdev 'net1' is of type 'null'; write type = .memory."):
                wire(vm, "net1")
        """,
    )

    result.assert_outcomes(passed=1)


def test_virtual_clock_moves_guest_time_only_when_told(pytester: pytest.Pytester, tmp_path: Path) -> None:
    result = run(
        pytester,
        tmp_path,
        """
        async def test_time(machine, virtual_clock):
            clocks = Clocks(virtual_clock)
            vm = await machine(VM, clocks=clocks)
            await vm.console.expect("hello")
            before = clocks.virtual.now()
            virtual_clock.advance(1_000_000)
            assert clocks.virtual.now() - before == 1_000_000
        """,
    )

    result.assert_outcomes(passed=1)
