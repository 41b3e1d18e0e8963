# SPDX-License-Identifier: GPL-2.0-or-later
"""PLIC: RISC-V PLIC specification 1.0.0."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from asyncemu.devices.plic import CLAIM, CONTEXT, CONTEXT_STRIDE, ENABLE, ENABLE_STRIDE, PENDING, Plic
from asyncemu.vcpu.irq import IrqLine


class Bench:
    """A PLIC of 96 sources and two contexts; source n has a line, and all have priority 1."""

    def __init__(self) -> None:
        self.outputs = [False, False]
        self.plic = Plic(96, [self._output(0), self._output(1)])
        self.lines: dict[int, IrqLine] = {source: self.plic.line(source, "irq") for source in range(1, 97)}
        for source in self.lines:
            self.priority(source, 1)

    def _output(self, context: int) -> Callable[[bool], None]:
        def drive(level: bool) -> None:
            self.outputs[context] = level

        return drive

    def write(self, offset: int, value: int) -> None:
        self.plic.mmio_write(offset, 4, value)

    def read(self, offset: int) -> int:
        return self.plic.mmio_read(offset, 4)

    def priority(self, source: int, value: int) -> None:
        self.write(4 * source, value)

    def enable(self, *sources: int, context: int = 0) -> None:
        for word in range(4):
            bits = sum(1 << source % 32 for source in sources if source // 32 == word)
            self.write(ENABLE + ENABLE_STRIDE * context + 4 * word, bits)

    def threshold(self, value: int, context: int = 0) -> None:
        self.write(CONTEXT + CONTEXT_STRIDE * context, value)

    def claim(self, context: int = 0) -> int:
        return self.read(CONTEXT + CONTEXT_STRIDE * context + CLAIM)

    def complete(self, source: int, context: int = 0) -> None:
        self.write(CONTEXT + CONTEXT_STRIDE * context + CLAIM, source)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_line_up_enabled_drives_output(bench: Bench) -> None:
    bench.enable(10)
    bench.lines[10].set(True)

    assert bench.outputs == [True, False]


def test_line_up_not_enabled_pends_only(bench: Bench) -> None:
    bench.lines[10].set(True)

    assert bench.outputs == [False, False]
    assert bench.read(PENDING) == 1 << 10


def test_line_down_before_claim_takes_interrupt_back(bench: Bench) -> None:
    bench.enable(10)
    bench.lines[10].set(True)
    bench.lines[10].set(False)

    assert (bench.outputs[0], bench.claim()) == (False, 0)


def test_enable_after_line_up_drives_output(bench: Bench) -> None:
    bench.lines[10].set(True)
    bench.enable(10)

    assert bench.outputs[0]


@pytest.mark.parametrize("source", [1, 31, 32, 63, 64, 95, 96])
def test_source_in_any_word_is_served(bench: Bench, source: int) -> None:
    bench.enable(source)
    bench.lines[source].set(True)

    assert bench.outputs[0]
    assert bench.read(PENDING + 4 * (source // 32)) == 1 << source % 32
    assert bench.claim() == source


def test_enable_bits_read_back_but_for_source_0_and_those_beyond(bench: Bench) -> None:
    for word in range(32):
        bench.write(ENABLE + 4 * word, 0xFFFFFFFF)

    assert [bench.read(ENABLE + 4 * word) for word in range(5)] == [0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFF, 1, 0]


def test_enable_word_written_leaves_other_words(bench: Bench) -> None:
    bench.enable(5, 40, 70)
    bench.write(ENABLE + 4, 0)

    assert [bench.read(ENABLE + 4 * word) for word in range(3)] == [1 << 5, 0, 1 << 6]


def test_contexts_have_their_own_enables_and_outputs(bench: Bench) -> None:
    bench.enable(3, context=0)
    bench.enable(4, context=1)
    bench.lines[4].set(True)

    assert bench.outputs == [False, True]
    assert (bench.claim(0), bench.claim(1)) == (0, 4)


def test_claim_highest_priority_first_then_lowest_number(bench: Bench) -> None:
    bench.enable(5, 6, 7, 8)
    bench.priority(7, 3)
    for source in (8, 7, 6, 5):
        bench.lines[source].set(True)

    assert [bench.claim() for _ in range(5)] == [7, 5, 6, 8, 0]


def test_claim_takes_interrupt_from_all_contexts(bench: Bench) -> None:
    bench.enable(5, context=0)
    bench.enable(5, context=1)
    bench.lines[5].set(True)

    assert (bench.claim(1), bench.outputs, bench.claim(0)) == (5, [False, False], 0)


def test_complete_line_still_up_interrupts_again(bench: Bench) -> None:
    bench.enable(5)
    bench.lines[5].set(True)
    bench.claim()
    served = bench.outputs[0]
    bench.complete(5)

    assert (served, bench.outputs[0], bench.claim()) == (False, True, 5)


def test_complete_line_down_is_quiet(bench: Bench) -> None:
    bench.enable(5)
    bench.lines[5].set(True)
    bench.claim()
    bench.lines[5].set(False)
    bench.complete(5)

    assert (bench.outputs[0], bench.claim()) == (False, 0)


@pytest.mark.parametrize("source", [0, 6, 97, 0xFFFFFFFF])
def test_complete_of_source_not_enabled_ignored(bench: Bench, source: int) -> None:
    bench.enable(5)
    bench.lines[5].set(True)
    bench.claim()
    bench.complete(source)

    assert bench.claim() == 0


@pytest.mark.parametrize(("priority", "threshold", "level"), [(0, 0, False), (1, 0, True), (3, 3, False), (4, 3, True)])
def test_output_needs_priority_above_threshold(bench: Bench, priority: int, threshold: int, level: bool) -> None:
    bench.enable(5)
    bench.priority(5, priority)
    bench.threshold(threshold)
    bench.lines[5].set(True)

    assert bench.outputs[0] == level


def test_threshold_does_not_affect_claim(bench: Bench) -> None:
    bench.enable(5)
    bench.threshold(7)
    bench.lines[5].set(True)

    assert (bench.outputs[0], bench.claim()) == (False, 5)


def test_threshold_lowered_drives_output(bench: Bench) -> None:
    bench.enable(5)
    bench.threshold(7)
    bench.lines[5].set(True)
    bench.threshold(0)

    assert bench.outputs[0]


def test_priority_and_threshold_keep_three_bits(bench: Bench) -> None:
    bench.priority(5, 0xFF)
    bench.threshold(0xFF)

    assert (bench.read(4 * 5), bench.read(CONTEXT)) == (7, 7)


def test_priority_of_source_0_stays_0(bench: Bench) -> None:
    bench.priority(0, 7)

    assert bench.read(0) == 0


@pytest.mark.parametrize(
    "offset", [4 * 97, PENDING + 0x40, ENABLE + 2 * ENABLE_STRIDE, CONTEXT + 8, CONTEXT + 2 * CONTEXT_STRIDE]
)
def test_register_that_does_not_exist_reads_zero(bench: Bench, offset: int) -> None:
    bench.write(offset, 0xFFFFFFFF)

    assert bench.read(offset) == 0


@pytest.mark.parametrize("size", [1, 2, 8])
def test_access_other_than_32_bits_ignored(bench: Bench, size: int) -> None:
    bench.plic.mmio_write(4 * 5, size, 7)

    assert (bench.read(4 * 5), bench.plic.mmio_read(4 * 5, size)) == (1, 0)


def test_reset_disables_everything_and_keeps_lines(bench: Bench) -> None:
    bench.enable(5)
    bench.lines[5].set(True)
    bench.plic.reset()

    assert (bench.outputs[0], bench.read(ENABLE), bench.read(PENDING)) == (False, 0, 1 << 5)


@pytest.mark.parametrize("source", [0, 97])
def test_line_of_source_that_does_not_exist_refused(bench: Bench, source: int) -> None:
    with pytest.raises(ValueError, match=f"sources 1 to 96, not {source}"):
        bench.plic.line(source, "irq")
