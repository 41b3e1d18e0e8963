# SPDX-License-Identifier: GPL-2.0-or-later
"""What a command answers when it can't do what was asked: QEMU's error classes, and the one place that maps ours.

QmpError                       {"class": "GenericError", "desc": "..."}
├── CommandNotFound            no such command, or not now
├── DeviceNotFound             no device, node, chardev or netdev has that name
├── DeviceNotActive            it is there, and can't do this now
└── KvmMissingCapability       the host's KVM lacks something
"""

from __future__ import annotations

from typing import ClassVar

from asyncemu.errors import AsyncemuError


class QmpError(AsyncemuError):
    """A command failed; ``str`` is the description, one line."""

    error_class: ClassVar[str] = "GenericError"

    def to_wire(self) -> dict[str, str]:
        """The value of a reply's ``error``."""
        return {"class": self.error_class, "desc": str(self)}


class CommandNotFound(QmpError):
    """No command has the name, or it may not be used in this state of the session."""

    error_class = "CommandNotFound"


class DeviceNotFound(QmpError):
    """Nothing of the kind that was asked for has the name."""

    error_class = "DeviceNotFound"


class DeviceNotActive(QmpError):
    """The device has nothing to do with what was asked, now."""

    error_class = "DeviceNotActive"


class KvmMissingCapability(QmpError):
    """The host's KVM can't do it."""

    error_class = "KVMMissingCap"


def explain(error: AsyncemuError) -> QmpError:
    """``error`` as a command's answer."""
    # Imported here: it is only looked at when something is wrong.
    from asyncemu.block.control.errors import NoSuchDevice
    from asyncemu.net.refusals import NotThere

    match error:
        case QmpError():
            return error
        case NoSuchDevice() | NotThere():
            return DeviceNotFound(str(error))
        case _:
            return QmpError(str(error).replace("\n", "; "))
