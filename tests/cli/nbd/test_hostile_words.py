# SPDX-License-Identifier: GPL-2.0-or-later
"""Command lines at random: settings, or one message."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asyncemu.cli.nbd import command_line
from asyncemu.cli.nbd.command_line import Stop, check, check_tls, parse
from asyncemu.cli.nbd.settings import Settings
from asyncemu.cli.tools.failure import ToolError

_words = st.one_of(
    st.sampled_from([f"--{name}" for name in command_line.LONG]),
    st.sampled_from([f"--{name}=x" for name in command_line.LONG]),
    st.sampled_from([f"-{letter}" for letter in command_line.SHORT if letter != ":"]),
    st.sampled_from(
        ["0", "512", "-1", "/socket", "none", "unmap", "native", "snapshot.id=1", "secret,id=s,data=x", "--"]
    ),
    st.text(max_size=8),
)


@given(st.lists(_words, max_size=8))
def test_words_at_random_are_settings_or_refused(words: list[str]) -> None:
    try:
        settings = parse(words)
        check(settings)
        check_tls(settings)
    except (ToolError, Stop):
        return
    assert settings.help or settings.version or settings.list or len(settings.rest) == 1


@given(st.integers(0, (1 << 64) - 1))
def test_offset_reads_every_spelling_of_c(offset: int) -> None:
    texts = (str(offset), hex(offset), f"0{offset:o}")
    assert {parse(["-o", text]).offset for text in texts} == {offset}


def test_settings_are_those_of_the_help() -> None:
    settings = Settings()
    assert (settings.shared, settings.persistent, settings.cache_mode.writethrough) == (1, False, False)
