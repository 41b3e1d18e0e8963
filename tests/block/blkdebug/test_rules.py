# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens at an event, and to which requests; as QEMU's blkdebug does."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from asyncemu.block.blkdebug.events import EVENTS, IO_TYPES
from asyncemu.block.blkdebug.rules import InjectErrorOptions, Rules, SetStateOptions


def rules(*options: InjectErrorOptions | SetStateOptions) -> Rules:
    made = Rules()
    for each in options:
        if isinstance(each, InjectErrorOptions):
            made.add_inject_error(each, "x")
        else:
            made.add_set_state(each, "x")
    return made


def inject(event: str = "read_aio", **options: Any) -> InjectErrorOptions:
    return InjectErrorOptions(event=event, **options)


def error(made: Rules, kind: str = "read", offset: int = 0, length: int = 512) -> int:
    """The errno that such a request fails with; 0: it succeeds."""
    found = made.error_for(kind, offset, length)
    return found.number if found is not None else 0


def test_events_are_those_of_qemu() -> None:
    assert len(EVENTS) == len(set(EVENTS)) == 48


def test_error_is_armed_by_its_event_and_stays() -> None:
    made = rules(inject(errno=errno.ENOSPC))
    assert error(made) == 0
    made.pass_event("write_aio")
    assert error(made) == 0
    made.pass_event("read_aio")
    assert [error(made), error(made)] == [errno.ENOSPC] * 2


def test_error_once_is_gone_with_its_rule() -> None:
    made = rules(inject(once=True))
    made.pass_event("read_aio")
    assert [error(made), error(made)] == [errno.EIO, 0]
    made.pass_event("read_aio")
    assert error(made) == 0


@pytest.mark.parametrize("kind", IO_TYPES)
def test_error_by_default_is_of_all_kinds_but_block_status(kind: str) -> None:
    made = rules(inject())
    made.pass_event("read_aio")
    assert error(made, kind) == (0 if kind == "block-status" else errno.EIO)


@pytest.mark.parametrize("kind", IO_TYPES)
def test_error_of_one_kind_is_of_that_only(kind: str) -> None:
    made = rules(inject(iotype=kind))
    made.pass_event("read_aio")
    assert [each for each in IO_TYPES if error(made, each)] == [kind]


@pytest.mark.parametrize(
    ("offset", "length", "fails"),
    [(1024, 512, True), (0, 1025, True), (0, 1024, False), (1025, 512, False), (1024, 0, False)],
)
def test_error_at_a_sector_is_of_requests_that_touch_its_first_byte(offset: int, length: int, fails: bool) -> None:
    made = rules(inject(sector=2))
    made.pass_event("read_aio")
    assert bool(error(made, "read", offset, length)) == fails


def test_first_rule_that_fits_decides() -> None:
    made = rules(inject(errno=1, sector=7), inject(errno=2), inject(errno=3))
    made.pass_event("read_aio")
    assert [error(made), error(made, "read", 7 * 512)] == [2, 1]


def test_error_zero_is_success_whatever_comes_behind() -> None:
    made = rules(inject(errno=0, iotype="read"), inject(errno=5))
    made.pass_event("read_aio")
    assert [error(made, "read"), error(made, "write")] == [0, 5]


def test_errors_of_a_later_event_replace_those_of_an_earlier_one() -> None:
    made = rules(inject("read_aio", errno=1), inject("write_aio", errno=2))
    made.pass_event("read_aio")
    made.pass_event("write_aio")
    assert error(made) == 2
    made.pass_event("l2_load")
    assert error(made) == 2


def test_state_selects_rules() -> None:
    made = rules(
        inject("read_aio", errno=7, state=2),
        SetStateOptions(event="l2_load", state=1, new_state=2),
        SetStateOptions(event="l2_load", state=2, new_state=3),
    )
    made.pass_event("read_aio")
    assert (made.state, error(made)) == (1, 0)
    made.pass_event("l2_load")
    made.pass_event("read_aio")
    assert (made.state, error(made)) == (2, 7)
    made.pass_event("l2_load")
    assert made.state == 3


def test_state_changes_behind_all_rules_of_the_event() -> None:
    made = rules(inject("read_aio", errno=7, state=1), SetStateOptions(event="read_aio", new_state=2))
    made.pass_event("read_aio")
    assert (made.state, error(made)) == (2, 7)


def test_state_of_several_changes_the_first_made_decides() -> None:
    made = rules(SetStateOptions(event="read_aio", new_state=5), SetStateOptions(event="read_aio", new_state=6))
    made.pass_event("read_aio")
    assert made.state == 5


def test_breakpoints_are_met_once_and_by_their_event() -> None:
    made = Rules()
    assert made.add_breakpoint("read_aio", "A")
    assert made.add_breakpoint("read_aio", "B")
    assert not made.add_breakpoint("nosuch", "C")
    assert made.pass_event("write_aio") == []
    assert made.pass_event("read_aio") == ["B", "A"]
    assert made.pass_event("read_aio") == []


def test_breakpoints_are_removed_by_tag() -> None:
    made = Rules()
    for event in ("read_aio", "write_aio"):
        made.add_breakpoint(event, "A")
    made.add_breakpoint("read_aio", "B")
    assert made.remove_breakpoints("A")
    assert not made.remove_breakpoints("A")
    assert made.pass_event("read_aio") == ["B"]
