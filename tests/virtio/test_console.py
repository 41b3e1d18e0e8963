# SPDX-License-Identifier: GPL-2.0-or-later
"""virtio-console: 5.3."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

import pytest

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.chardev import WRITE_BUFFER
from asyncemu.coroutines import start
from asyncemu.memory import Buffers
from asyncemu.testing import DeviceBench, DriverQueue, GuestBuffer, VirtioDriver, until
from asyncemu.testing.memory_chardev import MemoryChardev
from asyncemu.virtio import console
from asyncemu.virtio.console import ConsoleConfig, ConsoleOptions, PortOptions, VirtioConsole
from asyncemu.virtio.defs import F_VERSION_1

RECEIVE, TRANSMIT, CONTROL_RECEIVE, CONTROL_TRANSMIT, RECEIVE_1, TRANSMIT_1 = range(6)


@dataclass
class Console:
    """A virtio-console of one or two ports, and their outsides."""

    device: VirtioConsole
    driver: VirtioDriver
    chardev: MemoryChardev
    second: MemoryChardev

    def queue(self, index: int) -> DriverQueue:
        return self.driver.queues[index]

    async def offer(self, index: int, *room: int) -> list[GuestBuffer]:
        """Receive buffers of ``room`` bytes each."""
        buffers = [self.queue(index).add([], [length]) for length in room]
        await self.queue(index).kick()
        return buffers

    async def control(self, port: int, event: int, value: int) -> None:
        await self.queue(CONTROL_TRANSMIT).request([struct.pack("<IHH", port, event, value)], [])

    async def messages(self, buffers: list[GuestBuffer], count: int) -> list[tuple[int, int, int, bytes]]:
        """The first ``count`` control messages in ``buffers``."""
        await self.queue(CONTROL_RECEIVE).done(*buffers[:count])
        return [(*struct.unpack("<IHH", each.answer[:8]), each.answer[8:]) for each in buffers[:count]]


async def make_console(bench: DeviceBench, ports: list[PortOptions], features: int | None = None) -> Console:
    chardev, second = await MemoryChardev.make(bench.context), await MemoryChardev.make(bench.context, "chardev1")
    bench.objects["chardev", "chardev1"] = second
    options = ConsoleOptions(chardev="chardev0", ports=ports)
    device, driver = await bench.add_virtio(VirtioConsole, options, chardev=chardev)
    await driver.start(features)
    return Console(device, driver, chardev, second)


@pytest.fixture
async def single(bench: DeviceBench) -> Console:
    """Port 0 alone."""
    return await make_console(bench, [])


@pytest.fixture
async def multi(bench: DeviceBench) -> Console:
    """Two ports; the driver has not said that it is ready."""
    return await make_console(bench, [PortOptions(chardev="chardev1", name="org.example.0")])


# ---- output


async def test_transmit_reaches_chardev(single: Console) -> None:
    buffer = await single.queue(TRANSMIT).request([b"Hello, ", b"world\n"], [])

    assert (single.chardev.sent, buffer.written) == (b"Hello, world\n", 0)


async def test_transmit_larger_than_a_chunk_arrives_whole(single: Console) -> None:
    data = bytes(range(256)) * 1024

    await single.queue(TRANSMIT).request([data[:100_000], data[100_000:]], [])

    assert single.chardev.sent == data


async def test_transmit_to_full_chardev_waits_until_it_takes_bytes(single: Console) -> None:
    single.chardev.limit = 10
    data = b"x" * (WRITE_BUFFER + 100)
    buffer = single.queue(TRANSMIT).add([data], [])
    await single.queue(TRANSMIT).kick()
    await until(lambda: single.chardev.unsent == WRITE_BUFFER)
    waiting = single.queue(TRANSMIT).used_index == 0

    single.chardev.accept()
    await single.queue(TRANSMIT).done(buffer)

    assert waiting
    assert single.chardev.sent == data


async def test_transmit_several_buffers_to_full_chardev_keep_their_order(single: Console) -> None:
    single.chardev.limit = 0
    texts = [bytes([number]) * 40_000 for number in range(5)]
    buffers = [single.queue(TRANSMIT).add([text], []) for text in texts]
    await single.queue(TRANSMIT).kick()
    await until(lambda: single.chardev.unsent == WRITE_BUFFER)

    for limit in range(50_000, 200_001, 50_000):
        single.chardev.accept(limit)
        late = single.queue(TRANSMIT).add([b"|"], [])
        await single.queue(TRANSMIT).kick()
        buffers.append(late)
    single.chardev.accept()
    await single.queue(TRANSMIT).done(*buffers)

    assert single.chardev.sent == b"".join(texts) + b"||||"


async def test_transmit_begun_while_another_is_handed_its_turn_does_not_overtake_it(single: Console) -> None:
    port, context = single.device.ports[0], single.device.context
    single.chardev.limit = 0
    start(context, port.transmit(Buffers.of(b"a" * (WRITE_BUFFER + 1))))
    start(context, port.transmit(Buffers.of(b"b")))
    for _ in range(5):
        await asyncio.sleep(0)

    single.chardev.accept()
    await asyncio.sleep(0)
    last = start(context, port.transmit(Buffers.of(b"c")))
    await until(lambda: last.done())

    assert single.chardev.sent == b"a" * (WRITE_BUFFER + 1) + b"bc"


async def test_transmit_waiting_for_full_chardev_reset_releases_it(single: Console) -> None:
    single.chardev.limit = 0
    single.queue(TRANSMIT).add([bytes(WRITE_BUFFER + 1)], [])
    await single.queue(TRANSMIT).kick()
    await until(lambda: single.chardev.unsent == WRITE_BUFFER)

    await single.driver.start()
    single.chardev.accept()
    await single.queue(TRANSMIT).request([b"new life"], [])

    assert single.chardev.sent == bytes(WRITE_BUFFER) + b"new life"


async def test_transmit_writable_buffer_needs_reset(single: Console) -> None:
    single.queue(TRANSMIT).add([b"x"], [1])
    await single.queue(TRANSMIT).kick()

    await single.driver.wait_needs_reset()


async def test_transmit_without_chardev_is_swallowed(bench: DeviceBench) -> None:
    _, driver = await bench.add_virtio(VirtioConsole, ConsoleOptions())
    await driver.start()

    assert (await driver.queues[TRANSMIT].request([b"x"], [])).done


async def test_emergency_write_works_before_driver_is_up(bench: DeviceBench) -> None:
    chardev = await MemoryChardev.make(bench.context)
    _, driver = await bench.add_virtio(VirtioConsole, ConsoleOptions(), chardev=chardev)

    await driver.write_config(ConsoleConfig.emerg_wr.offset, b"!\0\0\0")
    await driver.status()

    assert chardev.sent == b"!"


async def test_write_to_other_config_fields_ignored(single: Console) -> None:
    await single.driver.write_config(0, b"ab")
    await single.driver.status()

    assert single.chardev.sent == b""


# ---- input


async def test_receive_lands_in_buffer(single: Console) -> None:
    (buffer,) = await single.offer(RECEIVE, 16)
    single.chardev.type(b"ls\n")

    await single.queue(RECEIVE).done(buffer)

    assert buffer.answer == b"ls\n"


async def test_receive_typed_before_driver_is_up_is_kept(single: Console) -> None:
    single.chardev.type(b"early")

    (buffer,) = await single.offer(RECEIVE, 16)
    await single.queue(RECEIVE).done(buffer)

    assert buffer.answer == b"early"


async def test_receive_longer_than_a_buffer_goes_on_in_the_next(single: Console) -> None:
    buffers = await single.offer(RECEIVE, 4, 4, 4)
    single.chardev.type(b"0123456789")

    await single.queue(RECEIVE).done(*buffers)

    assert [buffer.answer for buffer in buffers] == [b"0123", b"4567", b"89"]


async def test_receive_more_than_all_buffers_waits_for_new_ones(single: Console) -> None:
    data = bytes(range(256)) * 48
    single.chardev.type(data)
    answers = b""

    while len(answers) < len(data):
        buffers = await single.offer(RECEIVE, 1000, 24)
        await single.queue(RECEIVE).done(*buffers)
        answers += b"".join(buffer.answer for buffer in buffers)

    assert answers == data


async def test_receive_buffers_used_up_exactly_goes_on_with_new_ones(single: Console) -> None:
    buffers = await single.offer(RECEIVE, 4)
    single.chardev.type(b"0123")
    await single.queue(RECEIVE).done(*buffers)
    single.chardev.type(b"4567")

    buffers = await single.offer(RECEIVE, 4)
    await single.queue(RECEIVE).done(*buffers)

    assert buffers[0].answer == b"4567"


async def test_receive_no_buffers_stops_the_source(single: Console) -> None:
    single.chardev.type(b"wait")

    assert single.chardev.untyped == b"wait"


async def test_receive_buffer_without_room_needs_reset(single: Console) -> None:
    single.queue(RECEIVE).add([b"x"], [])
    await single.queue(RECEIVE).kick()
    single.chardev.type(b"a")

    await single.driver.wait_needs_reset()


async def test_receive_held_input_survives_reset(single: Console) -> None:
    (buffer,) = await single.offer(RECEIVE, 2)
    single.chardev.type(b"abcd")
    await single.queue(RECEIVE).done(buffer)

    await single.driver.start()
    (buffer,) = await single.offer(RECEIVE, 8)
    await single.queue(RECEIVE).done(buffer)

    assert buffer.answer == b"cd"


# ---- several ports


async def test_config_shows_ports(multi: Console) -> None:
    assert await multi.driver.read_config(ConsoleConfig.max_nr_ports.offset, 4) == b"\2\0\0\0"


async def test_device_ready_announces_ports(multi: Console) -> None:
    buffers = await multi.offer(CONTROL_RECEIVE, 32, 32)
    await multi.control(0, console.DEVICE_READY, 1)

    assert await multi.messages(buffers, 2) == [(0, console.PORT_ADD, 1, b""), (1, console.PORT_ADD, 1, b"")]


async def test_device_not_ready_announces_nothing(multi: Console) -> None:
    await multi.offer(CONTROL_RECEIVE, 32)

    await multi.control(0, console.DEVICE_READY, 0)

    assert multi.queue(CONTROL_RECEIVE).used_index == 0


async def test_port_0_ready_is_a_console_and_open(multi: Console) -> None:
    buffers = await multi.offer(CONTROL_RECEIVE, 32, 32)
    await multi.control(0, console.PORT_READY, 1)

    assert await multi.messages(buffers, 2) == [(0, console.CONSOLE_PORT, 1, b""), (0, console.PORT_OPEN, 1, b"")]


async def test_named_port_ready_has_its_name(multi: Console) -> None:
    buffers = await multi.offer(CONTROL_RECEIVE, 32, 32)
    await multi.control(1, console.PORT_READY, 1)

    assert await multi.messages(buffers, 2) == [
        (1, console.PORT_NAME, 1, b"org.example.0"),
        (1, console.PORT_OPEN, 1, b""),
    ]


async def test_second_console_port_ready_says_so(bench: DeviceBench) -> None:
    multi = await make_console(bench, [PortOptions(chardev="chardev1", console=True)])
    buffers = await multi.offer(CONTROL_RECEIVE, 32, 32)
    await multi.control(1, console.PORT_READY, 1)

    assert (await multi.messages(buffers, 1))[0] == (1, console.CONSOLE_PORT, 1, b"")


async def test_outside_goes_and_comes_guest_is_told(multi: Console) -> None:
    buffers = await multi.offer(CONTROL_RECEIVE, 32, 32, 32, 32)
    await multi.control(1, console.PORT_READY, 1)

    multi.second.event(ChardevEvent.CLOSED)
    multi.second.event(ChardevEvent.OPENED)

    assert [message[:3] for message in await multi.messages(buffers, 4)][2:] == [
        (1, console.PORT_OPEN, 0),
        (1, console.PORT_OPEN, 1),
    ]


@pytest.mark.parametrize("event", [ChardevEvent.BREAK, ChardevEvent.MUX_IN, ChardevEvent.MUX_OUT])
async def test_other_events_of_chardev_are_not_passed_on(multi: Console, event: ChardevEvent) -> None:
    await multi.control(1, console.PORT_READY, 1)
    multi.second.event(event)

    assert multi.device.ports[1].host_open
    assert len(multi.device._control_backlog) == 2


async def test_outside_goes_before_port_is_ready_guest_is_not_told(multi: Console) -> None:
    await multi.offer(CONTROL_RECEIVE, 32)

    multi.second.event(ChardevEvent.CLOSED)

    assert multi.queue(CONTROL_RECEIVE).used_index == 0


async def test_port_gets_input_only_while_guest_has_it_open(multi: Console) -> None:
    (buffer,) = await multi.offer(RECEIVE_1, 16)
    multi.second.type(b"hi")
    closed = multi.second.untyped

    await multi.control(1, console.PORT_OPEN, 1)
    await multi.queue(RECEIVE_1).done(buffer)

    assert (closed, buffer.answer) == (b"hi", b"hi")


async def test_port_closed_by_guest_keeps_held_input_until_it_is_opened(multi: Console) -> None:
    await multi.control(1, console.PORT_OPEN, 1)
    (first,) = await multi.offer(RECEIVE_1, 2)
    multi.second.type(b"abcd")
    await multi.queue(RECEIVE_1).done(first)
    await multi.control(1, console.PORT_OPEN, 0)
    (second,) = await multi.offer(RECEIVE_1, 8)
    await multi.control(1, console.PORT_OPEN, 0)
    while_closed = multi.queue(RECEIVE_1).used_index

    await multi.control(1, console.PORT_OPEN, 1)
    await multi.queue(RECEIVE_1).done(second)

    assert (while_closed, second.answer) == (1, b"cd")


async def test_ports_transmit_to_their_own_chardevs(multi: Console) -> None:
    await multi.queue(TRANSMIT).request([b"zero"], [])
    await multi.queue(TRANSMIT_1).request([b"one"], [])

    assert (multi.chardev.sent, multi.second.sent) == (b"zero", b"one")


async def test_control_messages_wait_for_buffers(multi: Console) -> None:
    await multi.control(0, console.DEVICE_READY, 1)

    buffers = await multi.offer(CONTROL_RECEIVE, 32, 32)

    assert len(await multi.messages(buffers, 2)) == 2


async def test_control_driver_that_takes_no_messages_fills_a_bounded_backlog(multi: Console) -> None:
    for _ in range(200):
        await multi.control(0, console.DEVICE_READY, 1)

    assert len(multi.device._control_backlog) == console.MAX_CONTROL_BACKLOG


@pytest.mark.parametrize("port", [2, 0xFFFFFFFF])
@pytest.mark.parametrize("event", [console.PORT_READY, console.PORT_OPEN, 99])
async def test_control_message_for_port_that_does_not_exist_ignored(multi: Console, port: int, event: int) -> None:
    await multi.control(port, event, 1)

    assert not multi.device._control_backlog


async def test_control_short_message_needs_reset(multi: Console) -> None:
    multi.queue(CONTROL_TRANSMIT).add([bytes(7)], [])
    await multi.queue(CONTROL_TRANSMIT).kick()

    await multi.driver.wait_needs_reset()


async def test_reset_forgets_control_messages_and_open_ports(multi: Console) -> None:
    await multi.control(1, console.PORT_OPEN, 1)
    await multi.control(0, console.DEVICE_READY, 1)

    await multi.driver.reset()

    assert not multi.device._control_backlog
    assert [port.guest_open for port in multi.device.ports.values()] == [False, False]


async def test_multiport_not_negotiated_port_0_works(bench: DeviceBench) -> None:
    multi = await make_console(bench, [PortOptions(chardev="chardev1")], F_VERSION_1)
    (buffer,) = await multi.offer(RECEIVE, 8)
    multi.chardev.type(b"hello")

    await multi.queue(RECEIVE).done(buffer)

    assert buffer.answer == b"hello"


async def test_another_chardev_takes_the_place_of_the_first(bench: DeviceBench, single: Console) -> None:
    other = await MemoryChardev.make(bench.context, "other")
    (buffer,) = await single.offer(RECEIVE, 8)

    single.chardev.hand_over(other)
    await single.queue(TRANSMIT).request([b"from the guest"], [])
    other.type(b"to it")
    await single.queue(RECEIVE).done(buffer)
    await single.driver.write_config(ConsoleConfig.emerg_wr.offset, b"!\0\0\0")

    assert other.sent == b"from the guest!"
    assert buffer.answer == b"to it"
    assert single.chardev.sent == b""


async def test_unrealize_leaves_chardevs_to_others(multi: Console) -> None:
    await multi.device.unrealize()

    assert (multi.chardev.frontend, multi.second.frontend) == (None, None)


# ---- ports that come and go


async def hotplug_console(bench: DeviceBench) -> Console:
    """A console alone that has room for two ports more; the driver is ready and has been told of port 0."""
    chardev, second = await MemoryChardev.make(bench.context), await MemoryChardev.make(bench.context, "chardev1")
    options = ConsoleOptions(chardev="chardev0", max_ports=3)
    device, driver = await bench.add_virtio(VirtioConsole, options, chardev=chardev)
    await driver.start()
    made = Console(device, driver, chardev, second)
    buffers = await made.offer(CONTROL_RECEIVE, 32)
    await made.control(0xFFFFFFFF, console.DEVICE_READY, 1)
    await made.messages(buffers, 1)
    return made


async def test_add_port_driver_is_told_and_names_it(bench: DeviceBench) -> None:
    hotplug = await hotplug_console(bench)
    buffers = await hotplug.offer(CONTROL_RECEIVE, 32, 64, 32)

    hotplug.device.add_port(2, PortOptions(chardev="chardev1", name="org.x"), hotplug.second)
    await hotplug.control(2, console.PORT_READY, 1)

    assert await hotplug.messages(buffers, 3) == [
        (2, console.PORT_ADD, 1, b""),
        (2, console.PORT_NAME, 1, b"org.x"),
        (2, console.PORT_OPEN, 1, b""),
    ]


async def test_remove_port_driver_is_told_and_the_chardev_is_free(bench: DeviceBench) -> None:
    hotplug = await hotplug_console(bench)
    buffers = await hotplug.offer(CONTROL_RECEIVE, 32, 32)
    hotplug.device.add_port(1, PortOptions(chardev="chardev1"), hotplug.second)

    hotplug.device.remove_port(1)

    assert (await hotplug.messages(buffers, 2))[1] == (1, console.PORT_REMOVE, 1, b"")
    assert hotplug.second.frontend is None


async def test_remove_port_output_that_waits_or_comes_later_is_gone(bench: DeviceBench) -> None:
    hotplug = await hotplug_console(bench)
    hotplug.device.add_port(1, PortOptions(chardev="chardev1"), hotplug.second)
    hotplug.second.accept(0)
    waiting = hotplug.queue(TRANSMIT_1).add([b"x" * (WRITE_BUFFER + 1)], [])
    await hotplug.queue(TRANSMIT_1).kick()

    hotplug.device.remove_port(1)
    await hotplug.queue(TRANSMIT_1).done(waiting)
    later = await hotplug.queue(TRANSMIT_1).request([b"later"], [])

    assert later.written == 0
    assert bench.platform.shutdowns == []


async def test_port_with_an_id_tells_when_the_guest_opens_it(bench: DeviceBench) -> None:
    hotplug = await hotplug_console(bench)
    hotplug.device.add_port(1, PortOptions(chardev="chardev1", id="p1"), hotplug.second)
    for opened in (1, 1, 0):
        await hotplug.control(1, console.PORT_OPEN, opened)

    assert bench.platform.events == [
        console.VserportChange(id="p1", open=True),
        console.VserportChange(id="p1", open=False),
    ]
    assert bench.platform.events[0].rate_limit_key() == "p1"


def test_max_ports_below_the_ports_given_is_refused() -> None:
    with pytest.raises(ValueError, match="max-ports 1 is too few for the console and 1 ports"):
        ConsoleOptions(ports=[PortOptions(chardev="c")], max_ports=1)
