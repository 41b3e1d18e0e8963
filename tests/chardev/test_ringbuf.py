# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncemu.errors import ConfigError
from asyncemu.loop import AioContext
from asyncemu.plugin_options import configure
from tests.chardev.conftest import MakeChardev


async def test_ringbuf_take_gives_the_oldest_first(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("ringbuf")
    await chardev.open()
    chardev.write(b"abcdef")

    assert (chardev.take(2), chardev.take(100), chardev.take(1)) == (b"ab", b"cdef", b"")


async def test_ringbuf_full_loses_the_oldest(make_chardev: MakeChardev) -> None:
    # As qemu-system-riscv64 7.2 answers ringbuf-write 0123456789, ringbuf-read 3.
    chardev = make_chardev("ringbuf", size=8)
    await chardev.open()
    chardev.put(b"0123456789")

    assert chardev.take(3) == b"234"


@given(st.lists(st.binary(max_size=20)))
async def test_ringbuf_any_writes_hold_the_last_bytes(writes: list[bytes]) -> None:
    import asyncio

    from asyncemu.chardev.ringbuf import Ringbuf, RingbufOptions

    context = AioContext(asyncio.get_running_loop(), "test")
    ringbuf = Ringbuf(RingbufOptions.model_validate({"size": 16}), "r", context)

    for data in writes:
        ringbuf.put(data)

    assert ringbuf.take(100) == b"".join(writes)[-16:]


async def test_ringbuf_memory_is_its_other_name(make_chardev: MakeChardev) -> None:
    chardev = make_chardev("memory", size=4)
    await chardev.open()
    chardev.write(b"abcdef")

    assert chardev.take(10) == b"cdef"


@pytest.mark.parametrize("size", [5, "3K"])
def test_ringbuf_size_no_power_of_two_is_one_line(size: object) -> None:
    with pytest.raises(ConfigError) as caught:
        configure("chardev", {"id": "r", "backend": "ringbuf", "size": size}, "chardev[0]")

    assert str(caught.value) == "chardev[0].size: size of ringbuf chardev must be power of two"
