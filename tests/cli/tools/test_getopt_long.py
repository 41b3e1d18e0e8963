# SPDX-License-Identifier: GPL-2.0-or-later
"""Options as the C library finds them. The peer is getopt(1) of util-linux, which calls getopt_long(3) of the host."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, OPTIONAL_ARGUMENT, REQUIRED_ARGUMENT, BadOption, OptionScanner

SHORT = "hf:r::q"
LONG = {
    "help": (NO_ARGUMENT, "--help"),
    "format": (REQUIRED_ARGUMENT, "--format"),
    "force": (NO_ARGUMENT, "--force"),
    "repair": (OPTIONAL_ARGUMENT, "--repair"),
}

#: Words of a command line, each as likely as the others.
WORDS = """
    -h -f -fraw -qh -qfx -r -rx - -- a -y -qy -f: --help --he --h=1 --format --format= --format=x --for --fo=x --force
    --repair --repair=all --nope
"""

_WORDS = st.sampled_from([*WORDS.split(), "b c", ""])


def ours(words: list[str]) -> tuple[list[str], str]:
    """What getopt(1) would print, and the first message."""
    scanner = OptionScanner(words, SHORT, LONG)
    found: list[str] = []
    try:
        for name, argument in scanner:
            takes = LONG[name[2:]][0] if name.startswith("--") else {"f": 1, "r": 2}.get(name, 0)
            found.append(name if name.startswith("--") else f"-{name}")
            if takes:
                found.append(argument)
    except BadOption as error:
        return found, str(error)
    return [*found, "--", *scanner.rest], ""


def theirs(words: list[str]) -> tuple[list[str], str]:
    """What getopt(1) prints, and its first message."""
    command = ["getopt", "-n", "x", "-o", SHORT, "-l", "help,format:,force,repair::", "--", *words]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    first, _, _ = found.stderr.partition("\n")
    return shlex.split(found.stdout), first.removeprefix("x: ")


@pytest.mark.skipif(shutil.which("getopt") is None, reason="util-linux is not there")
@settings(max_examples=150, deadline=None)
@given(words=st.lists(_WORDS, max_size=6))
def test_words_as_the_c_library_takes_them(words: list[str]) -> None:
    our_words, our_message = ours(words)
    their_words, their_message = theirs(words)
    assert our_message == their_message
    if not our_message:
        assert our_words == their_words


def test_other_arguments_come_behind_the_options() -> None:
    scanner = OptionScanner(["a", "-h", "b", "-f", "raw", "c"], SHORT, LONG)
    assert list(scanner) == [("h", ""), ("f", "raw")]
    assert scanner.rest == ["a", "b", "c"]


def test_options_in_order_end_at_the_first_other_argument() -> None:
    scanner = OptionScanner(["-h", "a", "-f", "raw"], "+:hf:", {})
    assert list(scanner) == [("h", "")]
    assert scanner.rest == ["a", "-f", "raw"]


def test_posixly_correct_ends_options_at_the_first_other_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSIXLY_CORRECT", "")
    scanner = OptionScanner(["a", "-h"], SHORT, LONG)
    assert list(scanner) == []
    assert scanner.rest == ["a", "-h"]


@pytest.mark.parametrize(
    ("words", "word", "missing"),
    [
        (["a", "--nope"], "--nope", False),
        (["-y"], "-y", False),
        (["-q", "-yq"], "-q", False),
        (["-yq"], "argv0", False),
        (["-f"], "-f", True),
        (["--format"], "--format", True),
        (["--force=1"], "--force=1", False),
    ],
)
def test_bad_option_has_the_word_looked_at_last(words: list[str], word: str, missing: bool) -> None:
    scanner = OptionScanner(words, SHORT, LONG, "argv0")
    with pytest.raises(BadOption) as caught:
        list(scanner)
    assert (caught.value.word, caught.value.missing) == (word, missing)
