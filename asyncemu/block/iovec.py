# SPDX-License-Identifier: GPL-2.0-or-later
"""Addresses of memoryviews, for system calls that Python has no wrapper of."""

from __future__ import annotations

import ctypes
from array import array
from typing import Any, Final

from asyncemu.memory.buffers import Buffers

_PyBUF_SIMPLE: Final = 0


class _PyBuffer(ctypes.Structure):
    """Py_buffer of the C API, for views that ctypes' ``from_buffer`` refuses: the read-only ones."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_void_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("suboffsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )

    buf: int


_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = (ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int)
_release_buffer = ctypes.pythonapi.PyBuffer_Release
_release_buffer.argtypes = (ctypes.POINTER(_PyBuffer),)
_release_buffer.restype = None


class _ReadOnlyPin:
    """Holds a buffer export; the memory can't go or move while this lives."""

    __slots__ = ("_buffer", "address")

    def __init__(self, view: memoryview) -> None:
        self._buffer = _PyBuffer()
        _get_buffer(view, self._buffer, _PyBUF_SIMPLE)
        self.address: int = self._buffer.buf

    def __del__(self) -> None:
        _release_buffer(self._buffer)


def pin(view: memoryview) -> tuple[int, Any]:
    """The address of a non-empty ``view`` and an object that keeps the memory there for as long as it lives."""
    if view.readonly:
        read_only = _ReadOnlyPin(view)
        return read_only.address, read_only
    writable = ctypes.c_char.from_buffer(view)
    return ctypes.addressof(writable), writable


def aligned(buffers: Buffers, address_alignment: int, length_alignment: int) -> bool:
    """Do all views begin and end where direct I/O wants them to?"""
    return not any(len(view) % length_alignment or pin(view)[0] % address_alignment for view in buffers)


class Iovec:
    """The array of struct iovec (readv(2)) for some buffers, which stay pinned while it lives."""

    __slots__ = ("_array", "_pins", "address", "count")

    def __init__(self, buffers: Buffers) -> None:
        self._array = array("Q")
        self._pins = []
        for view in buffers:
            address, held = pin(view)
            self._array.append(address)
            self._array.append(len(view))
            self._pins.append(held)
        self.address: int = self._array.buffer_info()[0]
        self.count = len(buffers)
