# SPDX-License-Identifier: GPL-2.0-or-later
"""A user's code that raises, on every road on which asyncemu calls it: that device suffers, and nobody else.

The classes of this file are a user's: the file is neither in asyncemu nor in Python's library.
"""

from __future__ import annotations

import errno
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncemu import author_errors
from asyncemu.block import BlockDriver, BlockDriverOptions, BlockGraph, BlockNode
from asyncemu.block.types import BlockStatus, Preallocation
from asyncemu.chardev import Chardev, ChardevOptions
from asyncemu.devices import MmioDevice, reg
from asyncemu.errors import BlockError, ConfigError
from asyncemu.loop import AioContext, Clocks, MainLoop
from asyncemu.memory import Buffers
from asyncemu.net import FilterOptions, Frames, NetBackend, NetFilter, Way, connect, place
from asyncemu.options import Options
from asyncemu.testing import DeviceBench, until
from asyncemu.testing.memory_wire import Wire
from asyncemu.virtio import Chain, VirtioDevice, virtqueue

THIS = re.escape(str(Path(__file__).resolve()))


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged; what failed in other tests is not counted."""
    monkeypatch.setattr(author_errors, "_times", author_errors._Times())
    yield caplog


@pytest.fixture
async def bench(context: AioContext) -> AsyncIterator[DeviceBench]:
    """A bench on a loop that reports as a machine's does."""
    author_errors.install(context.loop)
    async with DeviceBench(context) as bench:
        yield bench
    context.loop.set_exception_handler(None)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What users have been told of failures of their code."""
    return [each.getMessage() for each in caplog.records if each.name == "asyncemu.author"]


def one_line(caplog: pytest.LogCaptureFixture, beginning: str, function: str) -> bool:
    """Is the only line that of a division by zero in ``function`` of this file?"""
    (line,) = lines(caplog)
    pattern = rf"{re.escape(beginning)}: ZeroDivisionError: .*, at {THIS}:\d+ in {function}"
    return re.fullmatch(pattern, line) is not None


# ---- MMIO devices


class Gauge(MmioDevice[Options], name="gauge-of-a-user", size=0x1000):
    """Fails wherever it can be made to."""

    at_home = reg(0x00)
    later = reg(0x04)
    on_bus = reg(0x08)
    wrong = reg(0x0C, read_only=True)
    wrong_on_bus = reg(0x10, read_only=True)
    plain = reg(0x14)
    fails_in = ""

    @at_home.on_write
    def _home_write(self, value: int) -> None:
        1 / 0  # noqa: B018

    @at_home.on_read
    def _home_read(self) -> int:
        return 1 // 0

    @later.on_write
    async def _later_write(self, value: int) -> None:
        1 / 0  # noqa: B018

    @on_bus.on_bus_write
    def _bus_write(self, value: int) -> None:
        1 / 0  # noqa: B018

    @on_bus.on_bus_read
    def _bus_read(self) -> int:
        return 1 // 0

    @wrong.on_read
    def _text(self) -> int:
        return "text"  # type: ignore[return-value]

    @wrong_on_bus.on_bus_read
    def _nothing(self) -> int:
        return None  # type: ignore[return-value]

    async def realize(self) -> None:
        self.timer = self.context.timer(self.clocks.realtime, self._tick)

    def _tick(self) -> None:
        1 / 0  # noqa: B018


@pytest.mark.parametrize(("offset", "function"), [(0x00, "_home_write"), (0x04, "_later_write"), (0x08, "_bus_write")])
async def test_mmio_write_handler_that_raises_is_reported_and_the_guest_goes_on(
    bench: DeviceBench, told: pytest.LogCaptureFixture, offset: int, function: str
) -> None:
    device, registers = await bench.add_mmio(Gauge, Options())

    await registers.write32(offset, 1)
    await registers.write32(0x14, 7)

    assert await registers.read32(0x14) == 7
    await until(lambda: bool(lines(told)))
    assert one_line(told, f"register handler of {device!r}", function)


@pytest.mark.parametrize(("offset", "function"), [(0x00, "_home_read"), (0x08, "_bus_read")])
async def test_mmio_read_handler_that_raises_is_reported_and_reads_as_zero(
    bench: DeviceBench, told: pytest.LogCaptureFixture, offset: int, function: str
) -> None:
    device, registers = await bench.add_mmio(Gauge, Options())

    assert await registers.read32(offset) == 0

    await until(lambda: bool(lines(told)))
    assert one_line(told, f"register handler of {device!r}", function)


@pytest.mark.parametrize(
    ("offset", "text"), [(0x0C, "_text has returned str"), (0x10, "_nothing has returned NoneType")]
)
async def test_mmio_read_handler_that_returns_no_number_is_reported_and_reads_as_zero(
    bench: DeviceBench, told: pytest.LogCaptureFixture, offset: int, text: str
) -> None:
    _, registers = await bench.add_mmio(Gauge, Options())

    assert await registers.read32(offset) == 0

    await until(lambda: bool(lines(told)))
    assert re.search(rf"WrongResult: {text}, not a number, at {THIS}:\d+", lines(told)[0])


async def test_timer_callback_that_raises_is_reported_and_the_loop_goes_on(
    bench: DeviceBench, told: pytest.LogCaptureFixture
) -> None:
    device, registers = await bench.add_mmio(Gauge, Options())

    device.timer.mod(0)

    await until(lambda: bool(lines(told)))
    assert one_line(told, "timer callback of test", "_tick")
    assert await registers.read32(0x14) == 0


# ---- virtio devices


class Oracle(VirtioDevice[Options], name="oracle-of-a-user", device_id=63):
    """Fails where ``fails_in`` says."""

    fails_in = ""

    @virtqueue(size=8)
    async def requestq(self, request: Chain) -> None:
        self._maybe("requestq")

    def before_reset(self) -> None:
        self._maybe("before_reset")

    def features(self) -> int:
        self._maybe("features")
        return 0

    async def reset(self) -> None:
        await super().reset()
        self._maybe("reset")

    def _maybe(self, function: str) -> None:
        if self.fails_in == function:
            1 / 0  # noqa: B018


async def test_virtqueue_handler_that_raises_makes_the_device_need_a_reset_and_work_again(
    bench: DeviceBench, told: pytest.LogCaptureFixture
) -> None:
    device, driver = await bench.add_virtio(Oracle, Options())
    await driver.start()
    device.fails_in = "requestq"
    driver.queues[0].add([b"?"], [1])
    await driver.queues[0].kick()
    await driver.wait_needs_reset()
    device.fails_in = ""

    await driver.start()

    assert (await driver.queues[0].request([b"?"], [1])).done
    assert one_line(told, f"request handler of {device!r}", "_maybe")


async def test_features_that_raise_are_reported_and_read_as_zero(
    bench: DeviceBench, told: pytest.LogCaptureFixture
) -> None:
    device, driver = await bench.add_virtio(Oracle, Options())
    device.fails_in = "features"

    assert await driver.offered_features() == 0

    await until(lambda: bool(lines(told)))
    assert one_line(told, f"request handler of {device!r}", "_maybe")


@pytest.mark.parametrize("function", ["before_reset", "reset"])
async def test_reset_that_raises_is_reported_and_the_machine_is_reset(
    bench: DeviceBench, told: pytest.LogCaptureFixture, function: str
) -> None:
    device, driver = await bench.add_virtio(Oracle, Options())
    await driver.start()
    device.fails_in = function

    await bench.slots[0].reset()

    device.fails_in = ""
    assert one_line(told, f"{device.id}: {function}", "_maybe")


# ---- block drivers


class Shelf(BlockDriver[BlockDriverOptions], name="shelf-of-a-user"):
    """Every request divides by zero."""

    write_flags = 0

    async def open(self) -> int:
        self.limits.request_alignment = 1
        return 1 << 16

    async def preadv(self, offset: int, buffers: Buffers) -> None:
        1 / 0  # noqa: B018

    async def pwritev(self, offset: int, buffers: Buffers) -> None:
        1 / 0  # noqa: B018

    async def flush(self) -> None:
        1 / 0  # noqa: B018

    async def discard(self, offset: int, length: int) -> None:
        1 / 0  # noqa: B018

    async def write_zeroes(self, offset: int, length: int, flags: int = 0) -> None:
        1 / 0  # noqa: B018

    async def block_status(self, offset: int, length: int, want_zero: bool) -> BlockStatus:
        1 / 0  # noqa: B018
        raise AssertionError("not reached")

    async def truncate(self, size: int, *, exact: bool, preallocation: Preallocation, zero: bool) -> int:
        return 1 // 0


class BrokenShelf(BlockDriver[BlockDriverOptions], name="broken-shelf-of-a-user"):
    """Can't even be opened."""

    async def open(self) -> int:
        return 1 // 0


class EmptyShelf(BlockDriver[BlockDriverOptions], name="empty-shelf-of-a-user"):
    """Forgets to say how large it is."""

    async def open(self) -> int:
        return None  # type: ignore[return-value]


class StuckShelf(BlockDriver[BlockDriverOptions], name="stuck-shelf-of-a-user"):
    """Can't be closed."""

    async def open(self) -> int:
        return 512

    async def close(self) -> None:
        1 / 0  # noqa: B018


@pytest.fixture
async def graph(context: AioContext) -> AsyncIterator[BlockGraph]:
    graph = BlockGraph(context, None)
    yield graph
    for node in list(graph.nodes.values()):
        # Its last flush fails, which is not what is tested here.
        node.flushed_generation = node.write_generation = 0
        node.read_only = True
    await graph.close()


async def request(node: BlockNode, method: str) -> None:
    buffers = Buffers((memoryview(bytearray(512)),))
    node.write_generation = 1
    if method in ("preadv", "pwritev"):
        await getattr(node, method)(0, buffers)
    elif method in ("discard", "write_zeroes", "block_status"):
        await getattr(node, method)(0, 512)
    else:
        await (node.flush() if method == "flush" else node.truncate(1024))


@pytest.mark.parametrize(
    ("method", "what"),
    [
        ("preadv", "read"),
        ("pwritev", "write"),
        ("flush", "flush"),
        ("discard", "discard"),
        ("write_zeroes", "write zeroes"),
        ("block_status", "block status"),
        ("truncate", "truncate"),
    ],
)
async def test_block_driver_that_raises_fails_the_request_with_eio(
    graph: BlockGraph, told: pytest.LogCaptureFixture, method: str, what: str
) -> None:
    node = await graph.add(Shelf, BlockDriverOptions(discard="unmap"), "disk0")

    with pytest.raises(BlockError) as raised:
        await request(node, method)

    assert raised.value.errno == errno.EIO
    assert one_line(told, f"disk0: {what}", method)
    assert node.in_flight == 0


async def test_block_driver_that_raises_again_and_again_is_logged_once(
    graph: BlockGraph, told: pytest.LogCaptureFixture
) -> None:
    node = await graph.add(Shelf, BlockDriverOptions(), "disk0")

    for _ in range(9):
        with pytest.raises(BlockError):
            await request(node, "preadv")

    assert one_line(told, "disk0: read", "preadv")


@pytest.mark.parametrize(
    ("driver", "problem"),
    [(BrokenShelf, "ZeroDivisionError: .*"), (EmptyShelf, "WrongResult: open has returned NoneType, not a size .*")],
)
async def test_block_driver_that_can_t_open_is_a_config_error_with_the_line(
    graph: BlockGraph, driver: type[BlockDriver[BlockDriverOptions]], problem: str
) -> None:
    with pytest.raises(ConfigError, match=rf"^blockdev\[0\]: {problem}, at {THIS}:\d+ in open$"):
        await graph.add(driver, BlockDriverOptions(), "disk0", "blockdev[0]")

    assert not graph.nodes


async def test_block_driver_that_can_t_close_is_an_error_of_that_node(
    graph: BlockGraph, told: pytest.LogCaptureFixture
) -> None:
    node = await graph.add(StuckShelf, BlockDriverOptions(), "disk0")

    with pytest.raises(BlockError, match=r"^disk0: close: Input/output error$"):
        await graph.remove(node)

    assert not graph.nodes
    assert one_line(told, "disk0: close", "close")


# ---- networks


class Hole(NetBackend[Options], name="hole-of-a-user"):
    """Nothing gets through."""

    def transmit(self, frames: Frames) -> None:
        1 / 0  # noqa: B018

    async def disconnect(self) -> None:
        1 / 0  # noqa: B018


class Sieve(NetFilter[FilterOptions]):
    """Nothing gets past."""

    def pass_on(self, frames: Frames, way: Way) -> int:
        return 1 // 0


async def test_transmit_that_raises_takes_that_link_down(context: AioContext, told: pytest.LogCaptureFixture) -> None:
    hole, wire = Hole(Options(), "net0", context, Clocks()), Wire(context)
    connect(hole, wire)

    wire.feed(b"frame")
    await until(lambda: not hole.link_up)

    assert one_line(told, "net0: transmit; its link is down", "transmit")
    assert (list(wire.unsent), wire.carriers) == ([], [True, False])


async def test_disconnect_that_raises_is_reported(context: AioContext, told: pytest.LogCaptureFixture) -> None:
    hole = Hole(Options(), "net0", context, Clocks())

    await hole.close()

    assert one_line(told, "net0: disconnect", "disconnect")


async def test_filter_that_raises_loses_the_frames(context: AioContext, told: pytest.LogCaptureFixture) -> None:
    netdev, device = Wire(context, "netdev"), Wire(context, "device")
    connect(device, netdev)
    place(netdev, [Sieve(FilterOptions(netdev="netdev"), "sieve", context, Clocks().virtual)])

    device.feed(b"frame")

    assert (list(device.unsent), netdev.frames) == ([], [])
    assert one_line(told, "sieve: pass_on; the frames are lost", "pass_on")


# ---- chardevs


class Mouth(Chardev[ChardevOptions], name="mouth-of-a-user"):
    """Can't speak."""

    result: Any = None

    def transmit(self, data: bytes) -> int:
        return self.result if self.result is not None else 1 // 0

    def resume_input(self) -> None:
        1 / 0  # noqa: B018

    async def disconnect(self) -> None:
        1 / 0  # noqa: B018


@pytest.fixture
async def mouth(context: AioContext) -> Mouth:
    chardev = Mouth(ChardevOptions.model_validate({}), "console", context)
    await chardev.open()
    return chardev


async def test_chardev_transmit_that_raises_loses_the_output(mouth: Mouth, told: pytest.LogCaptureFixture) -> None:
    assert mouth.write(b"output") == 6

    assert mouth.unsent == 0
    assert one_line(told, "console: transmit; the output is lost", "transmit")


async def test_chardev_transmit_that_returns_no_number_loses_the_output(
    mouth: Mouth, told: pytest.LogCaptureFixture
) -> None:
    mouth.result = "six"

    assert mouth.write(b"output") == 6

    assert "WrongResult: transmit has returned str, not a number of bytes" in lines(told)[0]


async def test_chardev_resume_input_that_raises_is_reported(mouth: Mouth, told: pytest.LogCaptureFixture) -> None:
    mouth.accept_input()

    assert one_line(told, "console: resume_input", "resume_input")


async def test_chardev_disconnect_that_raises_is_reported(mouth: Mouth, told: pytest.LogCaptureFixture) -> None:
    await mouth.close()

    assert one_line(told, "console: disconnect", "disconnect")


# ---- a program's main loop


def test_main_loop_reports_users_failures_in_one_line(told: pytest.LogCaptureFixture) -> None:
    async def main(context: AioContext) -> None:
        context.schedule_oneshot(lambda: 1 / 0)
        await until(lambda: bool(lines(told)))

    MainLoop.run(main)

    assert one_line(told, "bottom half of main", "<lambda>")
