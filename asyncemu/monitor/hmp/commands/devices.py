# SPDX-License-Identifier: GPL-2.0-or-later
"""The tree of buses and devices."""

from __future__ import annotations

import json
from typing import Any

from asyncemu.devices import Device
from asyncemu.machine.virt import slot_bus
from asyncemu.memory import MmioRegion
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command
from asyncemu.plain_options_pydantic import given_options
from asyncemu.virtio.mmio import VirtioMmio


@hmp_command("info qtree", "", "show device tree")
async def info_qtree(session: Session) -> None:
    """The devices of the board and on its buses, by address, with the options that they were given."""
    session.print("bus: main-system-bus\n  type System\n")
    slots = session.machine.board.slots
    for region in session.machine.memory.regions:
        if not isinstance(region, MmioRegion):
            continue
        handler = region.handler
        if isinstance(handler, VirtioMmio):
            _print_slot(session, handler, slot_bus(slots.index(handler)), _place(region))
        elif isinstance(handler, Device):
            _print_device(session, handler, "  ", _place(region))
        else:
            session.print(f'  dev: {region.name}, id ""\n    {_place(region)}\n')


def _place(region: MmioRegion) -> str:
    return f"mmio {region.base:016x}/{region.size:016x}"


def _print_slot(session: Session, slot: VirtioMmio, bus: str, place: str) -> None:
    session.print(f'  dev: virtio-mmio, id ""\n    {place}\n    bus: {bus}\n      type virtio-mmio-bus\n')
    if slot.device is not None:
        _print_device(session, slot.device, "      ")


def _print_device(session: Session, device: Device[Any], indent: str, place: str = "") -> None:
    session.print(f'{indent}dev: {device.name}, id "{device.id}"\n')
    for key, value in given_options(device.options).items():
        session.print(f"{indent}  {key} = {json.dumps(value, default=str)}\n")
    if place:
        session.print(f"{indent}  {place}\n")
