"""The program that shows that stops are exact must itself be right: run here in slices of exact length."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from unicorn import UC_ARCH_RISCV, UC_MODE_RISCV64
from unicorn.riscv_const import UC_RISCV_REG_PC, UC_RISCV_REG_S0, UC_RISCV_REG_S1, UC_RISCV_REG_S2, UC_RISCV_REG_SP
from unicorn.unicorn_py3.unicorn import Uc

FOLDER = Path(__file__).parents[2] / "guests" / "stopcheck"
BINARY = FOLDER / "stopcheck.bin"

BASE = 0x8020_0000
SIZE = 48 << 10
REQUEST, PARKED, RESULTS = BASE + 0x1000, BASE + 0x1008, BASE + 0x1010
PAGES = [BASE + 0x3000 + i * 0x1008 for i in range(8)]
STACK_TOP = BASE + 0xC000
ROUND_LIMIT = 1000
"""More instructions than a round has: after so many the guest has parked."""


def start() -> Any:
    unicorn: Any = Uc  # its methods have no types
    machine = unicorn(UC_ARCH_RISCV, UC_MODE_RISCV64)
    machine.mem_map(BASE, SIZE)
    machine.mem_write(BASE, BINARY.read_bytes())
    machine.reg_write(UC_RISCV_REG_PC, BASE)
    return machine


def run(machine: Any, instructions: int) -> None:
    machine.emu_start(machine.reg_read(UC_RISCV_REG_PC), 0, count=instructions)


def read(machine: Any, address: int) -> int:
    (value,) = struct.unpack("<Q", machine.mem_read(address, 8))
    return int(value)


def write(machine: Any, address: int, value: int) -> None:
    machine.mem_write(address, struct.pack("<Q", value))


def park(machine: Any) -> list[int]:
    write(machine, REQUEST, 1)
    run(machine, ROUND_LIMIT)
    return list(struct.unpack("<19Q", machine.mem_read(RESULTS, 19 * 8)))


def expected(n: int) -> list[int]:
    geometric = (pow(5, n, 2**66) - 1) % 2**66 // 4
    return [n, n, n, n, n & 1, n * (n - 1) // 2, geometric, 5 * n, 5 * n, 0, 8 * n, *[n] * 8]


def test_stopcheck_binary_size_is_below_1_kib() -> None:
    assert len(BINARY.read_bytes()) < 1024


@pytest.mark.parametrize("instructions", [100, 1009, 20_011])
def test_stopcheck_parked_on_request_counts_agree(instructions: int) -> None:
    machine = start()
    run(machine, instructions)

    results = park(machine)

    assert results[0] > instructions // ROUND_LIMIT
    assert results == expected(results[0])
    assert read(machine, PARKED) == 1


def test_stopcheck_not_asked_never_parks() -> None:
    machine = start()

    run(machine, 20_011)

    assert read(machine, PARKED) == 0


def test_stopcheck_request_withdrawn_goes_on_counting() -> None:
    machine = start()
    first = park(machine)

    write(machine, REQUEST, 0)
    run(machine, 10_007)
    parked_between = read(machine, PARKED)
    second = park(machine)

    assert parked_between == 0
    assert second[0] > first[0]
    assert second == expected(second[0])


@pytest.mark.parametrize("step", [1, 7, 53])
def test_stopcheck_stopped_anywhere_counts_stay_in_bounds(step: int) -> None:
    machine = start()
    run(machine, 100)  # past the start, where registers get their values

    for _ in range(300):
        run(machine, step)
        n = machine.reg_read(UC_RISCV_REG_S0)
        entered, left = machine.reg_read(UC_RISCV_REG_S1), machine.reg_read(UC_RISCV_REG_S2)
        pushed = STACK_TOP - machine.reg_read(UC_RISCV_REG_SP)
        counters = [read(machine, address) for address in (BASE + 0x2000, BASE + 0x2008, BASE + 0x2010, *PAGES)]
        assert set(counters) <= {n, n + 1}
        assert counters == sorted(counters, reverse=True)
        assert 5 * n <= left <= entered <= 5 * n + 5
        assert pushed in range(0, 81, 16)


def test_stopcheck_one_instruction_repeated_is_seen() -> None:
    machine = start()
    run(machine, 1009)
    write(machine, PAGES[3], read(machine, PAGES[3]) + 1)

    results = park(machine)

    assert results != expected(results[0])


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("riscv64-linux-gnu-gcc") is None, reason="needs gcc-riscv64-linux-gnu")
def test_stopcheck_binary_rebuilt_has_the_same_bytes(tmp_path: Path) -> None:
    rebuilt = tmp_path / "stopcheck.bin"

    subprocess.run([FOLDER / "build", "--output", rebuilt], check=True, capture_output=True)

    assert rebuilt.read_bytes() == BINARY.read_bytes()
