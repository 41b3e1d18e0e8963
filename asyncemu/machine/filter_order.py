# SPDX-License-Identifier: GPL-2.0-or-later
"""The place of each filter in its netdev's list: ``position`` and ``insert``, as QEMU's filters have them."""

from __future__ import annotations

from asyncemu.net import FilterOptions


def insert_filter(order: list[str], id: str, options: FilterOptions) -> None:
    """Put ``id`` into ``order``, the filters of the same netdev so far. ValueError with what is wrong."""
    position = options.position
    if position == "head":
        order.insert(0, id)
    elif position == "tail":
        order.append(id)
    elif not position.startswith("id=") or position == "id=":
        raise ValueError(f"{position!r} is neither head, tail nor id=FILTER")
    else:
        other = position.removeprefix("id=")
        if other not in order:
            raise ValueError(f"no filter {other!r} is on netdev {options.netdev!r}; it must be defined above this one")
        order.insert(order.index(other) + (options.insert == "behind"), id)
