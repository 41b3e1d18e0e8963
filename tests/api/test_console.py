# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import re

import pytest

from asyncemu.api import ConsoleEnded, ConsoleTimeout
from asyncemu.api.console import KeptText
from tests.api.conftest import GuestConsole


async def test_expect_text_takes_all_up_to_its_end(guest: GuestConsole) -> None:
    guest.writes("boot\nlogin: rest")

    match = await guest.console.expect("login: ")

    assert match[0] == "login: "
    assert guest.console.pending == "rest"


async def test_expect_text_with_special_characters_is_literal(guest: GuestConsole) -> None:
    guest.writes("axb a.b")

    match = await guest.console.expect("a.b")

    assert match.start() == 4


async def test_expect_regular_expression_returns_its_groups(guest: GuestConsole) -> None:
    guest.writes("load average: 0.42, 0.1")

    match = await guest.console.expect(re.compile(r"average: (\S+),"))

    assert match[1] == "0.42"


async def test_expect_output_that_comes_in_pieces_is_found(guest: GuestConsole) -> None:
    waiting = guest.console.expect("login")
    guest.writes("lo")
    guest.writes("gin")

    assert (await waiting)[0] == "login"


async def test_expect_character_in_two_pieces_is_decoded(guest: GuestConsole) -> None:
    first, second = "ü".encode()[:1], "ü".encode()[1:]
    guest.chardev.write(first)
    guest.chardev.write(second)

    assert (await guest.console.expect("ü"))[0] == "ü"


async def test_expect_nothing_in_time_says_what_came(guest: GuestConsole) -> None:
    guest.writes("Kernel panic\n")
    await guest.console.expect("Kernel")

    with pytest.raises(ConsoleTimeout, match=r"no 'login' within 0 s; the output ends with:\n  Kernel panic"):
        await guest.console.expect("login", 0)


async def test_expect_silent_guest_says_that_it_is(guest: GuestConsole) -> None:
    with pytest.raises(ConsoleTimeout, match="no 'login' within 0 s; the guest has written nothing"):
        await guest.console.expect("login", 0)


async def test_expect_at_the_end_says_why_it_ended(guest: GuestConsole) -> None:
    guest.writes("Power down\n")
    await guest.console.end("the machine has ended: guest-shutdown")

    with pytest.raises(ConsoleEnded, match=r"no 'login', and the machine has ended: guest-shutdown; .*\n  Power down"):
        await guest.console.expect("login")


async def test_expect_what_came_before_the_end_is_found(guest: GuestConsole) -> None:
    guest.writes("Power down\n")
    await guest.console.end("over")

    assert await guest.console.expect("Power down")


async def test_expect_closed_chardev_says_so(guest: GuestConsole) -> None:
    await guest.chardev.close()

    with pytest.raises(ConsoleEnded, match="the console is closed"):
        await guest.console.expect("login")


async def test_tail_has_what_expect_took(guest: GuestConsole) -> None:
    guest.writes("one two")

    await guest.console.expect("two")

    assert guest.console.tail == "one two"


def test_text_keeps_the_last_characters_in_bounded_memory() -> None:
    text = KeptText(10)

    for number in range(100):
        text.append(f"{number:03}")
        assert len(text) <= 2 * 10 + 3

    assert text.whole() == "6097098099"


async def test_send_line_is_typed(guest: GuestConsole) -> None:
    guest.console.send_line("root")

    await guest.recorder.until_received(b"root\n")
