"""The program of `python -m asyncemu demo`, as it is shipped: small, loadable, and what its source says."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "guests" / "demo"
BINARY = ROOT / "asyncemu" / "cli" / "demo.elf"

LOAD_ADDRESS = 0x8020_0000
COMPILER = "riscv64-linux-gnu-gcc"


@pytest.fixture
def compiler() -> None:
    if shutil.which(COMPILER) is None:
        pytest.skip(f"needs {COMPILER} (Debian: gcc-riscv64-linux-gnu)")


@pytest.fixture
def same_compiler(compiler: None) -> None:
    tools = subprocess.run([SOURCE / "build", "--tools"], check=True, capture_output=True, text=True).stdout
    if tools != (SOURCE / "TOOLS").read_text():
        pytest.skip("needs the compiler and linker that guests/demo/TOOLS names")


def build(source: Path, output: Path) -> bytes:
    subprocess.run([source / "build", "--output", output], check=True, capture_output=True)
    return output.read_bytes()


def test_demo_binary_size_is_below_16_kib() -> None:
    assert BINARY.stat().st_size < 16 << 10


def test_demo_binary_header_is_riscv64_executable_entered_at_load_address() -> None:
    with BINARY.open("rb") as file:
        elf = ELFFile(file)
        header = (elf.elfclass, elf.little_endian, elf["e_machine"], elf["e_type"], elf["e_entry"])

    assert header == (64, True, "EM_RISCV", "ET_EXEC", LOAD_ADDRESS)


def test_demo_binary_segments_begin_at_load_address_and_stay_apart() -> None:
    with BINARY.open("rb") as file:
        spans = [(s["p_paddr"], s["p_paddr"] + s["p_memsz"]) for s in ELFFile(file).iter_segments("PT_LOAD")]

    assert spans == sorted(spans)
    assert spans[0][0] == LOAD_ADDRESS
    assert all(end <= next_start for (_, end), (next_start, _) in itertools.pairwise(spans))


def test_demo_binary_contents_name_no_path() -> None:
    assert re.findall(rb"/[a-z]+/", BINARY.read_bytes()) == []


@pytest.mark.slow
def test_demo_binary_rebuilt_with_same_tools_has_the_same_bytes(same_compiler: None, tmp_path: Path) -> None:
    assert build(SOURCE, tmp_path / "demo.elf") == BINARY.read_bytes()


@pytest.mark.slow
def test_demo_binary_built_elsewhere_has_the_same_bytes(compiler: None, tmp_path: Path) -> None:
    elsewhere = tmp_path / "another folder"
    shutil.copytree(SOURCE, elsewhere)

    assert build(elsewhere, tmp_path / "a.elf") == build(SOURCE, tmp_path / "b.elf")
