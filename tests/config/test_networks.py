# SPDX-License-Identifier: GPL-2.0-or-later
"""What is wrong with [[netdev]] and [[netfilter]] tables, and with how they go with each other and with devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest

from asyncemu.config import load
from asyncemu.config.load import check
from asyncemu.errors import ConfigError
from asyncemu.net import FilterOptions, Frames, NetBackend, NetFilter
from asyncemu.net.filter import MAX_FILTERS
from asyncemu.options import Options
from asyncemu.plugins import Reference


class HubOptions(Options):
    netdev: Annotated[str, Reference("netdev")] = ""
    hub: int = 0

    def home_group(self) -> str:
        return f"hub {self.hub}"


class Hub(NetBackend[HubOptions], name="config-hub"):
    """Names another netdev."""

    def transmit(self, frames: Frames) -> None:
        """Takes all."""


class TapedOptions(FilterOptions):
    outdev: Annotated[str, Reference("chardev")] = ""


class Taped(NetFilter[TapedOptions], name="config-filter"):
    """Names a chardev."""


NET0 = {"id": "net0", "type": "null"}
NIC = {"driver": "virtio-net", "netdev": "net0"}
IOTHREAD = [{"id": "io0"}]


def hub(id: str, netdev: str = "", number: int = 0) -> dict[str, Any]:
    return {"id": id, "type": "config-hub", "hub": number, **({"netdev": netdev} if netdev else {})}


def taped(id: str, **options: Any) -> dict[str, Any]:
    return {"id": id, "type": "config-filter", "netdev": "net0", **options}


FAULTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown type": (
        {"netdev": [{"id": "n", "type": "nul"}]},
        ["netdev[0].type: 'nul' is unknown; did you mean 'null'?"],
    ),
    "no id": (
        {"netdev": [{"type": "null"}], "netfilter": [{"type": "config-filter", "netdev": "x"}]},
        [
            "netdev[0].id: is missing; name it, so that a device can refer to it",
            "netfilter[0].id: is missing; name it",
            "netfilter[0].netdev: no netdev is named 'x'",
        ],
    ),
    "same id": (
        {"netdev": [NET0, NET0], "device": [NIC]},
        ["netdev[1].id: 'net0' is the name of netdev[0] already; choose another"],
    ),
    "no such netdev": (
        {"netdev": [NET0], "device": [{**NIC, "netdev": "net1"}]},
        ["device[0].netdev: no netdev is named 'net1'; did you mean 'net0'?"],
    ),
    "card without netdev": ({"device": [{"driver": "virtio-net"}]}, ["device[0].netdev: is missing"]),
    "two cards": (
        {"netdev": [NET0], "device": [NIC, NIC]},
        ["device[1].netdev: netdev 'net0' has a peer already, by device[0].netdev; use another one"],
    ),
    "card and netdev": (
        {"netdev": [NET0, hub("h0", "net0")], "device": [NIC]},
        ["netdev[1].netdev: netdev 'net0' has a peer already, by device[0].netdev; use another one"],
    ),
    "card on a netdev that names another": (
        {"netdev": [NET0, hub("h0", "net0")], "device": [{**NIC, "netdev": "h0"}]},
        ["netdev[1].netdev: netdev 'h0' has a peer already, by device[0].netdev; use another one"],
    ),
    "netdev that names itself": (
        {"netdev": [hub("h0", "h0")]},
        ["netdev[0].netdev: netdev 'h0' has a peer already, by netdev[0].netdev; use another one"],
    ),
    "two that name each other": (
        {"netdev": [hub("h0", "h1"), hub("h1", "h0")]},
        ["netdev[1].netdev: netdev 'h0' has a peer already, by netdev[0].netdev; use another one"],
    ),
    "position": (
        {"netdev": [NET0], "netfilter": [taped("f0", position="first")]},
        ["netfilter[0].position: 'first' is neither head, tail nor id=FILTER"],
    ),
    "position by a filter below": (
        {"netdev": [NET0], "netfilter": [taped("f0", position="id=f1"), taped("f1")]},
        ["netfilter[0].position: no filter 'f1' is on netdev 'net0'; it must be defined above this one"],
    ),
    "filters at both ends": (
        {"netdev": [NET0, hub("h0", "net0")], "netfilter": [taped("f0"), taped("f1", netdev="h0")]},
        [
            "netdev[1].netdev: netdev 'net0' and 'h0' are the ends of one link, and both have filters; "
            "give all filters to one of the two"
        ],
    ),
    "too many filters": (
        {"netdev": [NET0], "netfilter": [taped(f"f{number}") for number in range(MAX_FILTERS + 2)]},
        [f"netfilter[{MAX_FILTERS}].netdev: netdev 'net0' has more than {MAX_FILTERS} filters; use fewer"],
    ),
    "chardev of a filter that is not there": (
        {"netdev": [NET0], "netfilter": [taped("f0", outdev="c0")]},
        ["netfilter[0].outdev: no chardev is named 'c0'"],
    ),
    "chardev of two filters": (
        {
            "chardev": [{"id": "c0", "backend": "null"}],
            "netdev": [NET0],
            "netfilter": [taped("f0", outdev="c0"), taped("f1", outdev="c0")],
        },
        [
            "netfilter[1].outdev: chardev 'c0' is in use by netfilter[0].outdev already; "
            "set mux = true in chardev[0], or use another one"
        ],
    ),
    "chardev of a filter and of the machine, which live apart": (
        {
            "machine": {"serial": "c0"},
            "iothread": IOTHREAD,
            "chardev": [{"id": "c0", "backend": "null", "mux": True}],
            "netdev": [NET0],
            "netfilter": [taped("f0", outdev="c0")],
            "device": [{**NIC, "iothread": "io0"}],
        },
        [
            "netfilter[0].outdev: chardev 'c0' is used in iothread 'io0', and by machine.serial in the main loop; "
            "give its users the same iothread"
        ],
    ),
    "ports of one hub that live apart": (
        {
            "iothread": IOTHREAD,
            "netdev": [hub("h0"), hub("h1")],
            "device": [{**NIC, "netdev": "h0", "iothread": "io0"}, {**NIC, "netdev": "h1"}],
        },
        [
            "device[1].netdev: netdev 'h1' is used in the main loop, and by device[0].netdev in iothread 'io0'; "
            "give its users the same iothread"
        ],
    ),
    "mac": (
        {"netdev": [NET0], "device": [{**NIC, "mac": "x"}]},
        ["device[0].mac: 'x' is not an Ethernet address; write it as 52:54:00:12:34:56"],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_check_fault_of_a_network_is_named(case: str, tmp_path: Path) -> None:
    tables, messages = FAULTS[case]

    with pytest.raises(ConfigError) as caught:
        check(tables, tmp_path)

    assert str(caught.value).splitlines() == messages


def test_check_two_hubs_with_homes_of_their_own_are_right(tmp_path: Path) -> None:
    tables = {
        "iothread": IOTHREAD,
        "netdev": [hub("h0"), hub("h1", number=1)],
        "device": [{**NIC, "netdev": "h0", "iothread": "io0"}, {**NIC, "netdev": "h1"}],
    }

    assert [each.identity for each in check(tables, tmp_path).netdevs] == ["h0", "h1"]


def test_load_networks_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "vm.toml").write_text(
        '[[netdev]]\nid = "a"\ntype = "null"\n[[netdev]]\nid = "b"\ntype = "null"\n'
        '[[netfilter]]\nid = "f"\ntype = "config-filter"\nnetdev = "b"\n'
    )

    config = load(tmp_path / "vm.toml", ["netdev.a.queues=2"])

    assert [each.identity for each in config.netdevs] == ["a", "b"]
    assert [each.identity for each in config.netfilters] == ["f"]
    assert getattr(config.netdevs[0].options, "queues", 0) == 2
