# SPDX-License-Identifier: GPL-2.0-or-later
"""The examples, loaded and driven as a user's tests would do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncemu.block import BlockGraph
from asyncemu.errors import ConfigError
from asyncemu.memory import Buffers
from asyncemu.plugin_options import configure
from asyncemu.plugins import find
from asyncemu.testing import DeviceBench, until

ROOT = Path(__file__).parents[2]


def example(kind: str, path: str) -> Any:
    return find(kind, "", "test", f"examples/{path}", ROOT)


async def add_stopwatch(bench: DeviceBench, **options: Any) -> Any:
    stopwatch = example("device", "stopwatch.py:Stopwatch")
    return await bench.add_mmio(stopwatch, stopwatch.options_type(**options))


async def add_reverse(bench: DeviceBench, **options: Any) -> Any:
    reverse = example("device", "reverse.py:Reverse")
    device, driver = await bench.add_virtio(reverse, reverse.options_type(**options))
    await driver.start()
    return device, driver


# ---- stopwatch.py


async def test_stopwatch_started_raises_interrupt_after_a_lap(bench: DeviceBench) -> None:
    _, registers = await add_stopwatch(bench, lap_ms=1)

    await registers.write32(0x00, 1)
    await registers.irq.wait()

    assert await registers.read32(0x04) >= 1


async def test_stopwatch_acknowledged_lowers_interrupt_at_once(bench: DeviceBench) -> None:
    _, registers = await add_stopwatch(bench, lap_ms=1)
    await registers.write32(0x00, 1)
    await registers.irq.wait()

    await registers.write32(0x00, 0)
    await registers.read32(0x00)
    await registers.write32(0x10, 1)

    assert not registers.irq.level


async def test_stopwatch_stopped_keeps_elapsed_time(bench: DeviceBench) -> None:
    _, registers = await add_stopwatch(bench)
    await registers.write32(0x00, 1)
    await registers.write32(0x00, 0)

    first, second = await registers.read64(0x08), await registers.read64(0x08)

    assert first == second > 0


async def test_stopwatch_elapsed_read_only_ignores_write(bench: DeviceBench) -> None:
    _, registers = await add_stopwatch(bench)

    await registers.write64(0x08, 7)

    assert await registers.read64(0x08) == 0


async def test_stopwatch_machine_reset_stops(bench: DeviceBench) -> None:
    _, registers = await add_stopwatch(bench)
    await registers.write32(0x00, 1)

    await bench.reset()

    assert await registers.read64(0x08) == 0


# ---- reverse.py


async def test_reverse_request_is_answered_reversed(bench: DeviceBench) -> None:
    _, driver = await add_reverse(bench)

    buffer = await driver.queues[0].request([b"Hello, ", b"world"], [20])

    assert buffer.answer == b"dlrow ,olleH"


async def test_reverse_requests_counted_in_configuration_space(bench: DeviceBench) -> None:
    _, driver = await add_reverse(bench)

    await driver.queues[0].request([b"a"], [1])

    assert await driver.read_config(8, 8) == (1).to_bytes(8, "little")


async def test_reverse_too_long_request_needs_reset(bench: DeviceBench) -> None:
    _, driver = await add_reverse(bench)

    driver.queues[0].add([bytes(65537)], [1])
    await driver.queues[0].kick()

    await driver.wait_needs_reset()


async def test_reverse_slow_requests_overlap_and_reset_cancels_them(bench: DeviceBench) -> None:
    device, driver = await add_reverse(bench, delay_ms=60_000)
    queue = driver.queues[0]
    for number in range(50):
        queue.add([bytes([number])], [1], indirect=True)

    await queue.kick()
    await until(lambda: device.queues[0].in_flight == 50)
    await driver.reset()

    assert (device.queues[0].in_flight, queue.used_index) == (0, 0)


# ---- ramdisk.py


@pytest.fixture
async def graph(bench: DeviceBench, tmp_path: Path) -> BlockGraph:
    example("blockdev", "ramdisk.py:RamDisk")
    return BlockGraph(bench.context, tmp_path)


async def test_ramdisk_of_image_reads_image_then_zeroes(graph: BlockGraph, tmp_path: Path) -> None:
    (tmp_path / "base.img").write_bytes(b"base")
    node = await graph.add_table({"driver": "ramdisk", "size": "1KiB", "image": "base.img"}, "blockdev[0]")
    data = bytearray(6)

    await node.preadv(0, Buffers.of(data))

    assert (bytes(data), node.size) == (b"base\0\0", 1024)


async def test_ramdisk_written_reads_back(graph: BlockGraph) -> None:
    node = await graph.add_table({"driver": "ramdisk", "size": "1KiB"}, "blockdev[0]")
    data = bytearray(6)

    await node.pwritev(510, Buffers.of(b"ab", b"cd"))
    await node.preadv(509, Buffers.of(data))

    assert data == b"\0abcd\0"


async def test_ramdisk_zeroes_written_by_runtime(graph: BlockGraph) -> None:
    node = await graph.add_table({"driver": "ramdisk", "size": "1KiB"}, "blockdev[0]")
    await node.pwritev(0, Buffers.of(b"abcd"))
    data = bytearray(4)

    await node.write_zeroes(1, 2)
    await node.preadv(0, Buffers.of(data))

    assert data == b"a\0\0d"


async def test_ramdisk_smaller_than_image_is_refused_with_one_line(graph: BlockGraph, tmp_path: Path) -> None:
    (tmp_path / "base.img").write_bytes(bytes(2048))

    with pytest.raises(ConfigError) as caught:
        await graph.add_table({"driver": "ramdisk", "size": "1KiB", "image": "base.img"}, "blockdev[0]")

    assert str(caught.value) == "blockdev[0].image: 2048 bytes do not fit into 1024; raise size"


@pytest.mark.parametrize(
    ("kind", "path", "keys"),
    [
        ("device", "stopwatch.py:Stopwatch", {"lap-ms": 250}),
        ("device", "reverse.py:Reverse", {"delay-ms": 10}),
        ("blockdev", "ramdisk.py:RamDisk", {"size": "64MiB"}),
    ],
)
def test_example_table_of_its_docstring_is_valid(kind: str, path: str, keys: dict[str, object]) -> None:
    configured = configure(kind, {"plugin": f"examples/{path}", **keys}, kind, ROOT)

    assert configured.plugin.__doc__
