# SPDX-License-Identifier: GPL-2.0-or-later
"""Network back ends and cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncemu.devices import Device
from asyncemu.monitor.hmp.arguments import LinkName, NetdevId, NetdevOptions, OnOff, Text
from asyncemu.monitor.hmp.option_text import split, typed
from asyncemu.monitor.hmp.session import Session
from asyncemu.monitor.hmp.table import hmp_command
from asyncemu.monitor.plugin_arguments import plugin_variants
from asyncemu.net import NetBackend
from asyncemu.net.announce import AnnounceParameters

if TYPE_CHECKING:
    from asyncemu.net.user.connections import Connection


@hmp_command("set_link", "name on|off", "change the link status of a network adapter")
async def set_link(session: Session, name: LinkName, up: OnOff) -> None:
    """QMP: set_link."""
    await session.qmp("set_link", name=name, up=up)


@hmp_command("netdev_add", "type,id=str[,prop=value][,...]", "add host network device")
async def netdev_add(session: Session, netdev: NetdevOptions) -> None:
    """QMP: netdev_add."""
    options = split(netdev, "type")
    variant = plugin_variants("netdev").get(options.get("type", [""])[-1])
    await session.qmp("netdev_add", typed(variant, options, {"type": str, "id": str}))


@hmp_command("netdev_del", "id", "remove host network device")
async def netdev_del(session: Session, id: NetdevId) -> None:
    """QMP: netdev_del."""
    await session.qmp("netdev_del", id=id)


@hmp_command(
    "hostfwd_add",
    "[netdev_id] [tcp|udp]:[hostaddr]:hostport-[guestaddr]:guestport",
    "redirect TCP or UDP connections from host to guest (requires -net user)",
)
async def hostfwd_add(session: Session, first: Text, second: Text | None = None) -> None:
    """Of the first user network when none is named."""
    rule, netdev = (first, "") if second is None else (second, first)
    await session.say_refusal(session.machine.net.add_hostfwd(rule, netdev))


@hmp_command(
    "hostfwd_remove", "[netdev_id] [tcp|udp]:[hostaddr]:hostport", "remove host-to-guest TCP or UDP redirection"
)
async def hostfwd_remove(session: Session, first: Text, second: Text | None = None) -> None:
    """Of the first user network when none is named."""
    rule, netdev = (first, "") if second is None else (second, first)
    removed = await session.say_refusal(session.machine.net.remove_hostfwd(rule, netdev))
    session.print(f"host forwarding rule for {rule} {'removed' if removed else 'not found'}\n")


@hmp_command("announce_self", "[interfaces] [id]", "Trigger GARP/RARP announcements")
async def announce_self(session: Session, interfaces: Text | None = None, id: Text | None = None) -> None:
    """QMP: announce-self, with QEMU's defaults."""
    names = interfaces.split(",") if interfaces else None
    parameters = AnnounceParameters(initial=50, max=550, rounds=5, step=100)
    await session.qmp("announce-self", {**parameters.model_dump(by_alias=True), "interfaces": names, "id": id})


@hmp_command("info network", "", "show the network state")
async def info_network(session: Session) -> None:
    """Hubs with what is plugged into them, cards with their netdevs, netdevs without a card."""
    net = session.machine.net
    cards = {nic.netdev: nic for nic in net.nics.values()}  # type: ignore[attr-defined]
    hubs: dict[int, list[NetBackend[Any]]] = {}
    for netdev in net.netdevs.values():
        if type(netdev).name == "hubport":
            hubs.setdefault(netdev.options.hubid, []).append(netdev)
    shown: set[NetBackend[Any]] = set()
    for number, members in hubs.items():
        session.print(f"hub {number}\n")
        for port in members:
            shown.add(port)
            plugged = f": {_card_text(cards[port])}" if port in cards else "\n"
            if isinstance(port.peer, NetBackend):
                shown.add(port.peer)
                plugged = f": {_netdev_text(session, port.peer)}"
            session.print(f" \\ {port.id}{plugged}")
    for netdev, nic in cards.items():
        if netdev in shown:
            continue
        session.print(_card_text(nic))
        # A card whose netdev was removed stays.
        if net.netdevs.get(netdev.id) is netdev:
            shown.add(netdev)
            session.print(" \\ " + _netdev_text(session, netdev))
    for netdev in net.netdevs.values():
        if netdev not in shown:
            session.print(_netdev_text(session, netdev))


def _card_text(nic: Device[Any]) -> str:
    return f"{nic.id}: index=0,type={nic.summary()}\n"  # type: ignore[attr-defined]


def _netdev_text(session: Session, netdev: NetBackend[Any]) -> str:
    lines = [f"{netdev.id}: index={index},type={netdev.summary()}\n" for index in range(len(netdev.ports))]
    net = session.machine.net
    if order := net.order(netdev.id):
        lines.append("filters:\n")
        lines += [f"  - {id}: type={net.filters[id].name}\n" for id in order]
    return "".join(lines)


@hmp_command("info usernet", "", "show user network stack connection states")
async def info_usernet(session: Session) -> None:
    """What goes on in each user network."""
    net = session.machine.net
    for name in net.user_netdevs():
        session.print(f"Hub -1 ({name}):\n")
        session.print("  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\n")
        session.print("".join(map(_connection_text, await net.connections(name))))


def _connection_text(connection: Connection) -> str:
    label = f"  {connection.protocol}[{connection.state}]"
    ports = [
        f"{port:5d}" if connection.protocol != "ICMP" else "    -"
        for port in (connection.source_port, connection.destination_port)
    ]
    return (
        f"{label:<19} {connection.fd:3d} {connection.source:>15} {ports[0]} {connection.destination:>15} {ports[1]} "
        f"{connection.receive_queue:5d} {connection.send_queue:5d}\n"
    )
