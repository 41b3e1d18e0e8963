# SPDX-License-Identifier: GPL-2.0-or-later
"""Coroutines that begin in place: the requests of devices and block nodes."""

from asyncemu.coroutines.coroutine import Coroutine, start

__all__ = ["Coroutine", "start"]
