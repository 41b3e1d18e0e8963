# SPDX-License-Identifier: GPL-2.0-or-later
"""The machine with a probe on its main loop: its configuration, its result, and one that runs."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import two_iothreads
from benchmarks.errors import BenchmarkError
from benchmarks.two_iothreads import IDLE_GUEST, Files, Lateness, ProbedMachine, Session, parse, vm_toml
from guests import fetch, programs

FILES = Files(Path('/g/"Image"'), Path("/g/initrd"), Path("/g/disk.img"))
DISKS = [Path("/s/disk0.img"), Path("/s/disk1.img")]


def test_vm_toml_gives_each_disk_an_iothread() -> None:
    config = tomllib.loads(vm_toml(FILES, DISKS, "idle", True))
    assert config["iothread"] == [{"id": "io0"}, {"id": "io1"}]
    assert [(each["drive"], each["iothread"]) for each in config["device"]] == [("disk0", "io0"), ("disk1", "io1")]
    assert [each["filename"] for each in config["blockdev"]] == ["/s/disk0.img", "/s/disk1.img"]


def test_vm_toml_without_iothreads_has_none() -> None:
    config = tomllib.loads(vm_toml(FILES, DISKS, "idle", False))
    assert "iothread" not in config
    assert [set(each) for each in config["device"]] == [{"driver", "drive"}] * 2


def test_vm_toml_with_quotes_in_a_path_is_read_back() -> None:
    machine = tomllib.loads(vm_toml(FILES, DISKS, "blockbench-qd32", True))["machine"]
    assert machine["kernel"] == '/g/"Image"'
    assert machine["append"] == "console=ttyS0 quiet session=blockbench-qd32"


def result(late: list[int], console: str = "") -> str:
    return json.dumps({"late_ns": late, "console": console}) + "\n"


def test_parse_gives_milliseconds_of_the_last_line() -> None:
    late = [1_000_000] * 98 + [3_000_000] * 2
    assert parse("a warning\n" + result(late)) == Lateness(1.0, 3.0, 3.0, 0.0)


def test_parse_with_the_guests_figures_takes_their_median() -> None:
    console = "blockbench: reading\r\nblockbench: queued_reads=9000 median_ns=7500000 p99_ns=9000000 mean_ns=1"
    assert parse(result([1_000_000], console)).read == 7.5


@pytest.mark.parametrize(
    "output",
    ["", "Killed\n", "[]", '{"late_ns": 1}', '{"late_ns": [1]}', result([]), '{"late_ns": ["x"], "console": ""}'],
)
def test_parse_of_anything_else_raises_benchmark_error(output: str) -> None:
    with pytest.raises(BenchmarkError, match="the probed machine gave no result"):
        parse(output)


@given(st.text(max_size=50))
def test_parse_of_any_text_raises_benchmark_error_at_most(text: str) -> None:
    with pytest.raises(BenchmarkError):
        parse(text)


@given(st.lists(st.integers(0, 10**12), min_size=1))
def test_parse_never_gives_more_than_the_largest(late: list[int]) -> None:
    parsed = parse(result(late))
    assert parsed.median <= parsed.p99 <= parsed.largest == max(late) / 1e6


def test_machine_that_can_not_be_made_is_status_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "vm.toml"
    config.write_text(vm_toml(Files(tmp_path / "none", tmp_path / "none", tmp_path), [], "idle", False))
    assert two_iothreads.main([str(config), "idle", ""]) == 2
    assert capsys.readouterr().out.count("\n") == 1


@pytest.mark.guest
@pytest.mark.slow
@pytest.mark.skipif(not programs.have_compiler(), reason=f"{programs.COMPILER} is not installed")
def test_probed_machine_with_iothreads_reads(tmp_path: Path) -> None:
    guest = fetch.ensure()
    late = ProbedMachine(Files(guest.image, guest.initrd, guest.disk), tmp_path).reading()
    assert late.largest > 0
    assert late.read > 0


@pytest.mark.guest
@pytest.mark.slow
def test_probed_machine_without_iothreads_idles(tmp_path: Path) -> None:
    guest = fetch.ensure()
    late = ProbedMachine(Files(guest.image, guest.initrd, guest.disk), tmp_path).run(IDLE_GUEST, iothreads=False)
    assert late.largest > 0
    assert late.read == 0


@pytest.mark.guest
@pytest.mark.slow
def test_guest_that_ends_before_the_probe_begins_is_quoted(tmp_path: Path) -> None:
    guest = fetch.ensure()
    machine = ProbedMachine(Files(guest.image, guest.initrd, guest.disk), tmp_path)
    with pytest.raises(BenchmarkError, match="nosuch: FAILED: no such session"):
        machine.run(Session("nosuch", "never printed"), False)
