# SPDX-License-Identifier: GPL-2.0-or-later
"""What blkdebug does at its points: rules with a state, errors that wait for a request, breakpoints. No I/O.

Theory of operation. A rule belongs to an event, and holds in one state of the machine or (state 0) in all. When the
event is passed, its rules that hold are taken in the opposite order of their making, all by the state before:

    set-state      the state is another one afterwards; of several, the first made decides
    inject-error   the error is *armed*; the first one of an event disarms those that earlier events have armed
    suspend        a breakpoint: the request stops, and the rule is gone

A request fails by the first armed error that fits its kind and its bytes; ``once`` takes the rule away with it.
QEMU: block/blkdebug.c.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from asyncemu.block.blkdebug.events import DEFAULT_IO_TYPES, EVENTS, IO_TYPES
from asyncemu.errors import ConfigError
from asyncemu.plain_options import PlainOptions, option

#: Bytes of the unit in which a rule says where an error is.
SECTOR: Final = 512

#: Of Linux: larger numbers are no errnos.
_LARGEST_ERRNO: Final = 4095


class InjectErrorOptions(PlainOptions):
    """One ``inject-error`` rule; QEMU's names."""

    event: str | None = option(default=None, description="When it is passed, the error waits for the next request.")
    state: int = option(default=0, description="Only in this state; 0: in all.")
    iotype: str | None = option(default=None, description="Only requests of this kind; default: all but block-status.")
    errno: int = option(default=errno.EIO, description="The error.")
    sector: int = option(default=-1, description="Only requests that touch this sector of 512 bytes; -1: any.")
    once: bool = option(default=False, description="One request only.")
    immediately: bool = option(default=False, description="Fail at once, and not in the next round of the loop.")


class SetStateOptions(PlainOptions):
    """One ``set-state`` rule; QEMU's names."""

    event: str | None = option(default=None, description="When it is passed, the state changes.")
    state: int = option(default=0, description="Only in this state; 0: in all.")
    new_state: int = option(default=0, description="The state afterwards.")


@dataclass(eq=False, slots=True)
class InjectError:
    """An error, and for whom."""

    state: int
    number: int
    #: Of IO_TYPES.
    kinds: frozenset[str]
    #: Byte that the request must touch; None: any request.
    offset: int | None
    once: bool
    immediately: bool


@dataclass(eq=False, slots=True)
class SetState:
    """Another state."""

    state: int
    new_state: int


@dataclass(eq=False, slots=True)
class Suspend:
    """A breakpoint."""

    tag: str
    state: int = 0


Rule: TypeAlias = InjectError | SetState | Suspend


@dataclass(slots=True)
class Rules:
    """All rules of a node, and its state."""

    state: int = 1
    #: By event, the last made first.
    by_event: dict[str, list[Rule]] = field(default_factory=dict)
    #: In the order in which they are tried.
    armed: list[InjectError] = field(default_factory=list)

    # ---- making

    def add_inject_error(self, options: InjectErrorOptions, where: str) -> None:
        """ConfigError, in QEMU's words."""
        event = _event(options.event, where)
        kind = options.iotype
        if kind is not None and kind not in IO_TYPES:
            raise ConfigError(f"{where}.iotype", f"invalid parameter value: {kind}")
        if not 0 <= options.errno <= _LARGEST_ERRNO:
            raise ConfigError(f"{where}.errno", f"{options.errno} is no errno")
        kinds = DEFAULT_IO_TYPES if kind is None else frozenset((kind,))
        offset = None if options.sector == -1 else options.sector * SECTOR
        self._add(
            event,
            InjectError(options.state, options.errno, kinds, offset, options.once, options.immediately),
        )

    def add_set_state(self, options: SetStateOptions, where: str) -> None:
        """ConfigError, in QEMU's words."""
        self._add(_event(options.event, where), SetState(options.state, options.new_state))

    def add_breakpoint(self, event: str, tag: str) -> bool:
        """Stop the next request that passes ``event``; False: there is no such event."""
        if event not in EVENTS:
            return False
        self._add(event, Suspend(tag))
        return True

    def remove_breakpoints(self, tag: str) -> bool:
        """All with this tag that nobody has met yet; False: there is none."""
        found = False
        for event, rules in self.by_event.items():
            kept = [rule for rule in rules if not (isinstance(rule, Suspend) and rule.tag == tag)]
            found = found or len(kept) < len(rules)
            self.by_event[event] = kept
        return found

    def _add(self, event: str, rule: Rule) -> None:
        self.by_event.setdefault(event, []).insert(0, rule)

    # ---- running

    def pass_event(self, event: str) -> list[str]:
        """``event`` is passed: the tags of the breakpoints that are met."""
        rules = self.by_event.get(event)
        if not rules:
            return []
        holding = [rule for rule in rules if not rule.state or rule.state == self.state]
        errors = [rule for rule in holding if isinstance(rule, InjectError)]
        if errors:
            self.armed = errors[::-1]
        states = [rule for rule in holding if isinstance(rule, SetState)]
        if states:
            self.state = states[-1].new_state
        met = [rule for rule in holding if isinstance(rule, Suspend)]
        for each in met:
            rules.remove(each)
        return [each.tag for each in met]

    def error_for(self, kind: str, offset: int, length: int) -> InjectError | None:
        """The error of a request, if it has to fail."""
        for rule in self.armed:
            if kind in rule.kinds and (rule.offset is None or offset <= rule.offset < offset + length):
                break
        else:
            return None
        if not rule.number:
            return None
        if rule.once:
            self.armed.remove(rule)
            for rules in self.by_event.values():
                if rule in rules:
                    rules.remove(rule)
        return rule


def _event(name: str | None, where: str) -> str:
    if name is None:
        raise ConfigError(where, "Missing event name for rule")
    if name not in EVENTS:
        raise ConfigError(f"{where}.event", f"invalid parameter value: {name}")
    return name
