# SPDX-License-Identifier: GPL-2.0-or-later
"""VirtioNet: the card (virtio 1.2, 5.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from asyncemu.devices import Environment
from asyncemu.errors import AsyncemuError, GuestError
from asyncemu.loop import AioContext, any_thread, home
from asyncemu.net import Frame, NetBackend, connect, disconnect
from asyncemu.net.announce import announcement
from asyncemu.net.events import NicRxFilterChanged
from asyncemu.net.mac import format_mac, parse_mac
from asyncemu.net.packets.errors import Malformed
from asyncemu.net.rx_filter_info import RxFilterInfo
from asyncemu.virtio.chain import Chain
from asyncemu.virtio.device import VirtioDevice
from asyncemu.virtio.net import control, features
from asyncemu.virtio.net.config import ANNOUNCE, DUPLEX, LINK_UP, SPEED_UNKNOWN, NetConfig
from asyncemu.virtio.net.options import NetOptions
from asyncemu.virtio.net.queue_pair import QueuePair
from asyncemu.virtio.net.receive_filter import ReceiveFilter
from asyncemu.virtio.net.receiver import DEFAULT_MTU
from asyncemu.virtio.queue_declaration import QueueDeclaration
from asyncemu.virtio.split_queue import SplitQueue

CONTROL_QUEUE_SIZE: Final = 64


class VirtioNet(VirtioDevice[NetOptions], name="virtio-net", device_id=1):
    """Network card."""

    description = "Network card."

    netdev: NetBackend[Any]
    Config = NetConfig

    def __init__(self, options: NetOptions, id: str, environment: Environment) -> None:
        super().__init__(options, id, environment)
        self.pairs: list[QueuePair] = []
        #: The one that the card has at power-on.
        self.mac = bytes(6)
        self.filter = ReceiveFilter(self.mac)
        self._offered = 0
        #: Queue pairs that the driver uses, and what it takes unfinished.
        self._pairs_in_use = 1
        self._offloads = 0
        #: Has somebody asked what is let in since it was told that this has changed? QEMU: rxfilter_notify_enabled.
        self._tells_filter = True
        #: Is the cable plugged in here? The port of a pair that is not in use has none.
        self._link_up = True

    # ---- queues: 5.1.2

    def declare_queues(self) -> list[QueueDeclaration]:
        queues: list[QueueDeclaration] = []
        for index in range(len(self.netdev.ports)):
            queues.append(QueueDeclaration(f"receiveq{index + 1}", "rx_queue_size"))
            queues.append(QueueDeclaration(f"transmitq{index + 1}", "tx_queue_size"))
        if self.options.ctrl_vq:
            queues.append(QueueDeclaration("controlq", CONTROL_QUEUE_SIZE, VirtioNet._control))
        return queues

    def queue_context(self, index: int) -> AioContext:
        ports = self.netdev.ports
        return ports[index // 2].context if index < 2 * len(ports) else self.context

    @property
    def _control_index(self) -> int:
        return 2 * len(self.netdev.ports)

    def _our_queue(self, index: int, negotiated: int) -> int | None:
        """Which of our queues the driver's queue ``index`` is: without MQ there is one pair, and the third queue is the
        control queue. None: there is none."""
        if negotiated & features.MQ or index < 2:
            return index
        return self._control_index if index == 2 and self.options.ctrl_vq else None

    def _takes_control_doorbell(self) -> None:
        """The doorbell of queue 2 for a driver without MQ."""
        if self.options.ctrl_vq and not self.has(features.MQ):
            self.queues[self._control_index].notify()

    def activate(self, negotiated: int, queues: dict[int, SplitQueue]) -> None:
        # Before the queues: those with homes of their own are served from the moment on that they are there.
        self._configure(negotiated, negotiated & features.GUEST_OFFLOADS)
        numbers = {index: self._our_queue(index, negotiated) for index in queues}
        ours = {number: queues[index] for index, number in numbers.items() if number is not None}
        super().activate(negotiated, ours)

    def start_queue(self, index: int, queue: SplitQueue) -> None:
        number = self._our_queue(index, self.negotiated)
        if number is not None:
            super().start_queue(number, queue)

    async def stop_queue(self, index: int) -> None:
        number = self._our_queue(index, self.negotiated)
        if number is not None:
            await super().stop_queue(number)

    # ---- life

    def features(self) -> int:
        return self._offered

    async def realize(self) -> None:
        self.mac = self.environment.mac_addresses.choose(parse_mac(self.options.mac) if self.options.mac else None)
        self.filter = ReceiveFilter(self.mac)
        ports = self.netdev.ports
        vnet_header = all(port.has_vnet_header for port in ports)
        self._offered = features.offered(self.options, vnet_header, len(ports))
        for index, port in enumerate(ports):
            name = self.id if len(ports) == 1 else f"{self.id}.{index}"
            queues = (self.buffer_queues[f"receiveq{index + 1}"], self.buffer_queues[f"transmitq{index + 1}"])
            pair = QueuePair(name, port.context, queues, self.filter, self.failed)
            pair.link_up = not index
            self.pairs.append(pair)
        # 5.1.4.2: there is one status, and it is the first pair's, which lives where the device does.
        self.pairs[0].on_link = self._link_changed
        if len(ports) > 1:
            first_unused = self.buffer_queues["receiveq2"]
            served = first_unused.on_available

            def doorbell() -> None:
                if served is not None:
                    served()
                self._takes_control_doorbell()

            first_unused.on_available = doorbell
        self._fill_config()
        for pair, port in zip(self.pairs, ports, strict=True):
            await _at_home(pair.context, partial(connect, port, pair))
        # No driver, no frames that are not finished.
        await self._tell_offloads()

    def _fill_config(self) -> None:
        config, options = self.config, self.options
        config.mac[:] = self.mac
        config.max_virtqueue_pairs = len(self.netdev.ports)
        config.mtu = options.host_mtu
        config.speed = SPEED_UNKNOWN if options.speed < 0 else options.speed
        config.duplex = DUPLEX[options.duplex]
        self.config_changed()

    async def unrealize(self) -> None:
        await super().unrealize()
        for pair in self.pairs:
            await _at_home(pair.context, partial(disconnect, pair))
        if self.pairs:
            self.environment.mac_addresses.give_back(self.mac)

    async def before_move(self, context: AioContext) -> None:
        raise AsyncemuError(f"{self.id}: can't move to {context.name}, as netdevs can't; set iothread in vm.toml")

    async def reset(self) -> None:
        await super().reset()
        self.filter = ReceiveFilter(self.mac)
        if self.config.status & ANNOUNCE or bytes(self.config.mac) != self.mac:
            self.config.mac[:] = self.mac
            self.config.status &= ~ANNOUNCE
            self.config_changed()
        self._configure(0, 0)
        await self._use_pairs(1)
        await self._tell_offloads()

    def activated(self) -> None:
        for pair in self.pairs:
            if pair.context is self.context:
                self._tell_peer(pair)
            else:
                pair.context.schedule_oneshot(partial(self._tell_peer, pair))

    # ---- what all pairs have in common

    def _configure(self, negotiated: int, offloads: int) -> None:
        """Have the pairs work for a driver with these features."""
        if negotiated & features.CTRL_VLAN:
            self.filter = replace(self.filter, vlans=0)
        self._offloads = features.consistent(offloads | features.CTRL_VQ) & features.GUEST_OFFLOADS
        for index, pair in enumerate(self.pairs):
            receiver = pair.receiver
            receiver.negotiated = pair.transmitter.negotiated = negotiated
            receiver.offloads = self._offloads
            receiver.filter = self.filter
            receiver.mtu = self.options.host_mtu or DEFAULT_MTU
            receiver.active = bool(negotiated) and index < self._pairs_in_use
            if not negotiated:
                receiver.forget()

    def _set_filter(self, filter: ReceiveFilter) -> None:
        self.filter = filter
        for pair in self.pairs:
            pair.receiver.filter = filter
        if self._tells_filter:
            self._tells_filter = False
            self.environment.platform.emit(NicRxFilterChanged(name=self.id, path=f"/machine/peripheral/{self.id}"))

    @home
    def rx_filter(self) -> RxFilterInfo:
        """What is let in; the next change is told. QEMU: query-rx-filter."""
        self._tells_filter = True
        return self.filter.info(self.id)

    @any_thread
    def summary(self) -> str:
        """What it is, in a line. QEMU: info network."""
        return f"nic,model=virtio-net-device,macaddr={format_mac(self.filter.mac)}"

    async def _use_pairs(self, count: int) -> None:
        self._pairs_in_use = count
        for index, pair in enumerate(self.pairs):
            pair.receiver.active = bool(self.negotiated) and index < count
            up = self._link_up and index < count
            if pair.link_up is not up:
                await _at_home(pair.context, partial(pair.set_link, up))

    async def _tell_offloads(self) -> None:
        for pair in self.pairs:
            await _at_home(pair.context, partial(self._tell_peer, pair))

    def _tell_peer(self, pair: QueuePair) -> None:
        """5.1.6.5.6: what the peer may leave unfinished; at the pair's home."""
        peer, bits = pair.peer, self._offloads
        if peer is not None and peer.has_vnet_header:
            wanted = (features.GUEST_CSUM, features.GUEST_TSO4, features.GUEST_TSO6, features.GUEST_ECN)
            peer.peer_offloads(*(bool(bits & bit) for bit in (*wanted, features.GUEST_UFO)))

    # ---- the link

    @home
    async def set_link(self, up: bool) -> None:
        """Plug the cable in at the card, or out. QEMU: set_link."""
        self._link_up = up
        await self._use_pairs(self._pairs_in_use)

    def _link_changed(self) -> None:
        """5.1.4.2."""
        status = self.config.status & ~LINK_UP | (LINK_UP if self.pairs[0].carrier else 0)
        if status != self.config.status:
            self.config.status = status
            self.config_changed()

    @home
    def announce(self) -> None:
        """Tell the network where this card is, and have the guest do so: 5.1.6.5.4. QEMU: announce-self."""
        self.pairs[0].send((Frame.of(announcement(self.filter.mac)),))
        if self.has(features.GUEST_ANNOUNCE) and not self.config.status & ANNOUNCE:
            self.config.status |= ANNOUNCE
            self.config_changed()

    @any_thread
    def statistics(self) -> dict[str, int]:
        """Frames of all pairs since the machine began."""
        receivers = [pair.receiver for pair in self.pairs]
        return {
            "received": sum(each.received for each in receivers),
            "received-filtered": sum(each.filtered for each in receivers),
            "received-dropped": sum(each.dropped for each in receivers),
            "sent": sum(pair.sent for pair in self.pairs),
            "sent-dropped": sum(pair.transmitter.dropped for pair in self.pairs),
            "lost-without-link": sum(pair.lost for pair in self.pairs),
        }

    # ---- the control queue: 5.1.6.5

    async def _control(self, request: Chain) -> None:
        """One command: two bytes that say which, its data, and a byte for the answer."""
        if request.readable.nbytes < 2 or not request.capacity:
            raise GuestError("a control command without its class or room for an answer")
        kind, command = request.readable.take(2)
        data = b"".join(request.readable.head(control.MAX_COMMAND, len(request.readable)))
        request.written = request.writable.write(await self._answer(kind, command, data))

    async def _answer(self, kind: int, command: int, data: bytes) -> bytes:
        try:
            parsed = control.parse_command(kind, command, data)
        except Malformed as error:
            self.log.info("control queue: %s", error)
            return control.ERROR
        if not control.is_negotiated(parsed, self.negotiated):
            return control.ERROR
        return control.OK if await self._obey(parsed) else control.ERROR

    async def _obey(self, command: control.Command) -> bool:
        """Do it; False where it can't be done."""
        match command:
            case control.ReceiveMode(field, on):
                self._set_filter(self.filter.with_mode(field, on))
            case control.AddressTables(unicast, multicast):
                self._set_filter(self.filter.with_tables(unicast, multicast))
            case control.SetAddress(address):
                self._set_filter(replace(self.filter, mac=address))
                self.config.mac[:] = address
                self.transport.set_config(bytes(self.config))
            case control.SetVlan(vlan, wanted):
                self._set_filter(self.filter.with_vlan(vlan, wanted))
            case control.AnnounceDone():
                if not self.config.status & ANNOUNCE:
                    return False
                self.config.status &= ~ANNOUNCE
                self.transport.set_config(bytes(self.config))
            case control.SetPairs(pairs):
                if not 1 <= pairs <= len(self.pairs):
                    return False
                await self._use_pairs(pairs)
            case control.SetOffloads(offloads):
                if offloads & ~(self.negotiated & features.GUEST_OFFLOADS):
                    return False
                self._set_offloads(offloads)
                await self._tell_offloads()
        return True

    def _set_offloads(self, offloads: int) -> None:
        self._offloads = offloads
        for pair in self.pairs:
            pair.receiver.offloads = offloads


async def _at_home(context: AioContext, action: Callable[[], object]) -> None:
    async def act() -> None:
        action()

    await context.call(act)
