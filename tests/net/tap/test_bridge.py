# SPDX-License-Identifier: GPL-2.0-or-later
"""The netdev bridge: with helpers of the tests' own, and with QEMU's and a bridge of the kernel."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from asyncemu.errors import ConfigError
from asyncemu.net.tap import bridge
from asyncemu.net.tap.bridge import BridgeOptions
from asyncemu.testing import until
from tests.net.frames import numbered
from tests.net.tap.conftest import Body, Host

InNamespace = Callable[[Body], None]

QEMUS_HELPER = Path("/usr/lib/qemu/qemu-bridge-helper")


def broadcast(number: int) -> bytes:
    """A frame to everybody, from an address that a bridge believes."""
    return b"\xff" * 6 + b"\x52\x54\0\0\0" + bytes([number]) + numbered(number)[12:]


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def qemus_helper(directory: Path, rules: str) -> str:
    """QEMU's with these rules in a /etc of its own."""
    (directory / "etc" / "qemu").mkdir(parents=True)
    (directory / "etc" / "qemu" / "bridge.conf").write_text(rules)
    inner = f'mount --bind {directory}/etc /etc && exec {QEMUS_HELPER} "$@"'
    return program(directory / "helper", f"#!/bin/sh\nexec unshare -m sh -c '{inner}' helper \"$@\"\n")


@pytest.mark.skipif(not QEMUS_HELPER.exists() or not shutil.which("unshare"), reason="no qemu-bridge-helper")
def test_frames_pass_a_bridge_of_the_kernel_by_qemus_helper(in_namespace: InNamespace, tmp_path: Path) -> None:
    helper = qemus_helper(tmp_path, "allow br7\n")

    async def body(host: Host) -> None:
        host.ip("link add br7 type bridge")
        host.ip("link add one type veth peer name other")
        host.ip("link set one master br7")
        for name in ("br7", "one"):
            host.ip(f"link set {name} up")
        raw = host.up("other")
        wire, netdev = await host.bridge(br="br7", helper=helper)

        for name in ("one", netdev.interface):
            await until(lambda name=name: "state forwarding" in host.ip(f"-d link show {name}"))  # type: ignore[misc]

        raw.send(broadcast(1))
        await until(lambda: broadcast(1) in wire.frames)
        wire.feed(broadcast(2))
        while (received := raw.recv(2000)) != broadcast(2):
            pass

        assert received == broadcast(2)
        assert f"{netdev.interface}:" in host.ip("link show master br7")
        assert netdev.summary() == f"bridge,helper={helper},br=br7"
        await netdev.close()
        assert f"{netdev.interface}:" not in host.ip("link show master br7")

    in_namespace(body)


@pytest.mark.skipif(not QEMUS_HELPER.exists() or not shutil.which("unshare"), reason="no qemu-bridge-helper")
def test_bridge_that_the_helpers_rules_do_not_allow_is_an_error(in_namespace: InNamespace, tmp_path: Path) -> None:
    helper = qemus_helper(tmp_path, "allow br8\n")

    async def body(host: Host) -> None:
        with pytest.raises(ConfigError) as caught:
            await host.bridge(br="br7", helper=helper)

        assert str(caught.value) == f"net0: bridge helper {helper} failed with status 1"

    in_namespace(body)


def test_helper_is_qemus_where_none_is_named(
    in_namespace: InNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = tmp_path / "arguments"
    helper = program(tmp_path / "helper", f'#!/bin/sh\necho "$1" "$3" >{arguments}\nexit 3\n')
    monkeypatch.setattr(bridge, "HELPERS", (tmp_path / "none", Path(helper)))

    async def body(host: Host) -> None:
        with pytest.raises(ConfigError, match=r"failed with status 3$"):
            await host.bridge()

    in_namespace(body)
    assert arguments.read_text() == "--use-vnet --br=br0\n"


def test_helper_that_is_not_installed_is_an_error(
    in_namespace: InNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "HELPERS", (tmp_path / "none",))

    async def body(host: Host) -> None:
        with pytest.raises(ConfigError) as caught:
            await host.bridge()

        problem = "QEMU's bridge helper is not there; install qemu-system, or name another"
        assert str(caught.value) == f"net0.helper: {problem}"

    in_namespace(body)


def test_helper_that_opens_something_else_is_an_error(in_namespace: InNamespace, tmp_path: Path) -> None:
    helper = program(
        tmp_path / "helper",
        f"#!{sys.executable} -SE\n"
        "import os, socket, sys\n"
        "with socket.socket(fileno=int(sys.argv[2].removeprefix('--fd='))) as channel:\n"
        "    socket.send_fds(channel, [b'x'], [os.open('/dev/null', os.O_RDWR)])\n",
    )

    async def body(host: Host) -> None:
        with pytest.raises(ConfigError) as caught:
            await host.bridge(helper=helper)

        assert str(caught.value) == f"net0: what the bridge helper {helper} opened is not a tap device"

    in_namespace(body)


@pytest.mark.parametrize("name", ["", "x" * 16])
def test_bridge_whose_name_none_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        BridgeOptions.model_validate({"br": name})
