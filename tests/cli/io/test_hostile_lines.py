# SPDX-License-Identifier: GPL-2.0-or-later
"""Lines of commands that make no sense: each is done or refused, and none is more than a line's trouble."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncemu.cli.io.exerciser import Exerciser
from asyncemu.cli.io.numbers import number_of_bytes, pattern_byte
from asyncemu.cli.io.opening import OpenOptions, Target, open_target
from asyncemu.cli.io.results import size_text
from asyncemu.cli.io.table import COMMANDS
from asyncemu.cli.tools.runner import ToolSession, run_tool

# Those that end or signal the process, or wait for as long as they are told to.
_NAMES = [command.name for command in COMMANDS if command.name not in ("abort", "sigraise", "sleep", "open")]
_LETTERS = sorted({letter for command in COMMANDS for letter in (command.arguments or "") if letter.isalpha()})

_words = st.one_of(
    st.sampled_from(["0", "512", "64k", "1M", "0x200", "-1", "1.5k", "3G", "9E", "write_aio", "A", "--", "-", "7"]),
    st.lists(st.sampled_from(_LETTERS), min_size=1, max_size=3).map(lambda letters: "-" + "".join(letters)),
    st.text(st.characters(exclude_characters=" \n", codec="utf-8"), max_size=6),
)
_lines = st.builds(lambda name, words: " ".join([name, *words]), st.sampled_from(_NAMES), st.lists(_words, max_size=5))


def _run(lines: Sequence[str]) -> int:
    async def main(session: ToolSession) -> int:
        exerciser = Exerciser(session)
        options = OpenOptions()
        options.text = "driver=blkdebug,image.driver=null-co,image.size=1M,image.read-zeroes=on"
        exerciser.take(await open_target(session, Target(None), options))
        for line in lines:
            async with asyncio.timeout(20):
                await exerciser.execute(line)
        await exerciser.close_image()
        return 0

    return run_tool(main)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_lines, min_size=1, max_size=8))
def test_lines_at_random_are_done_or_refused(lines: list[str]) -> None:
    assert _run(lines) == 0


@given(st.integers(0, (1 << 63) - 1))
def test_number_of_bytes_reads_what_is_written(number: int) -> None:
    assert number_of_bytes(str(number)) == number
    assert number_of_bytes(hex(number)) == number


@given(st.integers(0, 255))
def test_pattern_reads_every_spelling_of_c(number: int) -> None:
    assert {pattern_byte(text) for text in (str(number), hex(number), f"0{number:o}", f"+{number}")} == {number}


@given(st.floats(0, 1e22))
def test_size_is_shown_in_the_largest_unit_that_fits(size: float) -> None:
    number, unit = size_text(size).split(" ")
    scale = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB").index(unit)
    assert scale == 6 or size < 1 << 10 * (scale + 1)
    assert abs(float(number) * (1 << 10 * scale) - size) <= (1 << 10 * scale) * 0.001
