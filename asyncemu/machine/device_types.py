# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU calls the types of devices, for those who know them by these names (device_add, qom-list-types).

A virtio device that is ``virtio-blk`` in vm.toml is there without a bus, ``virtio-blk-device`` when it sits on
virtio-mmio. Both names are understood.
"""

from __future__ import annotations

from typing import Any, Final, cast

from asyncemu.devices import Device
from asyncemu.errors import AsyncemuError
from asyncemu.plugins import Plugin, UnknownPlugin, find
from asyncemu.virtio.device import VirtioDevice

_SUFFIX: Final = "-device"

#: Those with a name of their own in QEMU.
_QEMU_NAMES: Final = {
    "virtio-console": "virtio-serial-device",
    "sifive-test": "riscv.sifive.test",
    "goldfish-rtc": "goldfish_rtc",
    "uart16550": "serial-mm",
}
_OUR_NAMES: Final = {theirs: ours for ours, theirs in _QEMU_NAMES.items()}


class BoardError(AsyncemuError):
    """The board has no place for a device; ``str`` is QEMU's description."""


class HotplugRefused(BoardError):
    """Nothing comes to this bus or leaves it now."""

    def __init__(self, bus: str) -> None:
        super().__init__(f"Bus '{bus}' does not support hotplugging")


def device_type(plugin: type[Plugin[Any]]) -> str:
    """QEMU's name of the type."""
    name = plugin.name
    if name in _QEMU_NAMES:
        return _QEMU_NAMES[name]
    return name + _SUFFIX if issubclass(plugin, VirtioDevice) else name


def find_device(name: str) -> type[Device[Any]] | None:
    """The class that ``name``, of vm.toml or of QEMU, means; None: there is none."""
    for candidate in (name, _OUR_NAMES.get(name, ""), name.removesuffix(_SUFFIX)):
        try:
            return cast("type[Device[Any]]", find("device", candidate, "driver"))
        except UnknownPlugin:
            continue
    return None
