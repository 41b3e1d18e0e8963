# SPDX-License-Identifier: GPL-2.0-or-later
"""Trace events on and off. An event here is a category of asyncemu's tracer: bh, timer, doorbell, guest, ...

What is recorded is in each thread's ring: `asyncemu run --trace FILE` writes it in the end, a program has
``asyncemu.tracing.tracer.tracks()``. When all are switched on for the first time, a recording begins.
"""

from __future__ import annotations

import fnmatch
from typing import Literal

from asyncemu.machine import Machine
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import QmpError
from asyncemu.tracing import tracer
from asyncemu.tracing.categories import ALL
from asyncemu.wire_model import WireModel


class TraceEventGetArguments(WireModel):
    """Of trace-event-get-state."""

    #: With ``*`` for any text and ``?`` for any character.
    name: str
    vcpu: int | None = None


class TraceEventSetArguments(WireModel):
    """Of trace-event-set-state."""

    #: With ``*`` for any text and ``?`` for any character.
    name: str
    enable: bool
    #: Go on where an event is not there to be traced: all of ours are.
    ignore_unavailable: bool = False
    vcpu: int | None = None


class TraceEventInfo(WireModel):
    """QEMU: TraceEventInfo."""

    name: str
    state: Literal["unavailable", "disabled", "enabled"]
    #: Can it be switched for one vCPU alone?
    vcpu: bool


@command("trace-event-get-state")
async def trace_event_get_state(call: Call, arguments: TraceEventGetArguments) -> list[TraceEventInfo]:
    """Which of these events are recorded?"""
    return [
        TraceEventInfo(name=name, state="enabled" if tracer.records(name) else "disabled", vcpu=False)
        for name in _matching(call.control.machine, arguments.name, arguments.vcpu)
    ]


@command("trace-event-set-state")
async def trace_event_set_state(call: Call, arguments: TraceEventSetArguments) -> None:
    """Record these events from now on, or no more."""
    chosen = set(_matching(call.control.machine, arguments.name, arguments.vcpu))
    before = {name for name in ALL if tracer.records(name)}
    tracer.select(before | chosen if arguments.enable else before - chosen)


def _matching(machine: Machine, pattern: str, vcpu: int | None) -> list[str]:
    """The names that ``pattern`` means. Raises QmpError, in QEMU's words."""
    is_pattern = "*" in pattern or "?" in pattern
    # Brackets mean nothing in QEMU's patterns.
    escaped = pattern.replace("[", "[[]")
    found = sorted(name for name in ALL if fnmatch.fnmatchcase(name, escaped))
    if vcpu is not None and not 0 <= vcpu < len(machine.vcpus):
        raise QmpError(f"invalid vCPU index {vcpu}")
    if not found and not is_pattern:
        raise QmpError(f'unknown event "{pattern}"')
    if vcpu is not None:
        if not is_pattern:
            raise QmpError(f'event "{pattern}" is not vCPU-specific')
        return []
    return found
