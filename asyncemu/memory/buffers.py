# SPDX-License-Identifier: GPL-2.0-or-later
"""Buffers: a scatter/gather list of memoryviews that goes straight into preadv, pwritev and sendmsg."""

from __future__ import annotations

from typing import Final

#: Zeroing copies from one block of this many bytes: a view may be as large as guest RAM.
_ZEROES: Final = bytes(1 << 16)


class Buffers(list[memoryview]):
    """Views of guest RAM (or of any writable memory), in order. A list: system calls take it as it is.

    Every view is of bytes (format ``B``), contiguous and not empty. Nothing here copies but ``take`` and ``tobytes``.
    """

    __slots__ = ()

    @classmethod
    def of(cls, *views: bytes | bytearray | memoryview) -> Buffers:
        """Wrap plain byte objects; empty ones are left out. TypeError for a view that is not contiguous."""
        return cls(view for view in map(_as_bytes, views) if len(view))

    @property
    def nbytes(self) -> int:
        """Total length in bytes."""
        return sum(map(len, self))

    def take(self, length: int) -> bytes:
        """Remove the first ``length`` bytes and return a copy: a header. ValueError when there are fewer.

        The copy is what makes checking safe: the guest may change its memory after the check.
        """
        if self and len(self[0]) == length:
            # The usual case, and on the path of every request: the header has a descriptor of its own.
            return self.pop(0).tobytes()
        head, tail = self.split(length)
        self[:] = tail
        return head.tobytes()

    def take_last(self, length: int) -> Buffers:
        """Remove the last ``length`` bytes and return the views: a status field. ValueError when there are fewer."""
        if self and len(self[-1]) == length:
            return Buffers((self.pop(),))
        total = self.nbytes
        if length > total:
            raise ValueError(f"{length} bytes asked for at the end of {total}")
        head, tail = self.split(total - length)
        self[:] = head
        return tail

    def split(self, length: int) -> tuple[Buffers, Buffers]:
        """The first ``length`` bytes and the rest, as views. ValueError when there are fewer, or ``length`` < 0."""
        if length < 0:
            raise ValueError(f"{length} bytes asked for")
        head = Buffers()
        left = length
        for index, view in enumerate(self):
            if not left:
                return head, Buffers(self[index:])
            if len(view) > left:
                head.append(view[:left])
                return head, Buffers([view[left:], *self[index + 1 :]])
            head.append(view)
            left -= len(view)
        if left:
            raise ValueError(f"{length} bytes asked for, {length - left} there")
        return head, Buffers()

    def slice(self, start: int, length: int) -> Buffers:
        """``length`` bytes from ``start`` on, as views. ValueError when there are fewer, or one is negative."""
        return self.split(start)[1].split(length)[0]

    def head(self, max_bytes: int, max_views: int) -> Buffers:
        """The start, as views: as much as there is within both limits (IOV_MAX of a system call)."""
        head = Buffers()
        left = max_bytes
        for view in self[:max_views]:
            if len(view) >= left:
                head.append(view[:left])
                break
            head.append(view)
            left -= len(view)
        return head

    def tobytes(self) -> bytes:
        """A copy of all bytes."""
        return b"".join(self)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Copy ``data`` to the start, as much as fits; returns how much that was."""
        source = memoryview(data)
        done = 0
        for view in self:
            if done == len(source):
                break
            part = source[done : done + len(view)]
            view[: len(part)] = part
            done += len(part)
        return done

    def fill_zero(self) -> None:
        """Set all bytes to zero."""
        for view in self:
            for start in range(0, len(view), len(_ZEROES)):
                part = view[start : start + len(_ZEROES)]
                part[:] = _ZEROES[: len(part)]


def _as_bytes(data: bytes | bytearray | memoryview) -> memoryview:
    view = memoryview(data)
    return view if view.format == "B" and view.ndim == 1 and view.contiguous else view.cast("B")
