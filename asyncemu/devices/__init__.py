# SPDX-License-Identifier: GPL-2.0-or-later
"""Device models, and what their authors write against."""

from asyncemu.devices.device import Device, Environment, Platform
from asyncemu.devices.mmio_device import MmioDevice
from asyncemu.devices.register import Register, reg

__all__ = ["Device", "Environment", "MmioDevice", "Platform", "Register", "reg"]
