# SPDX-License-Identifier: GPL-2.0-or-later
"""The netdev tap against the host's kernel; and its options."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from asyncemu.errors import ConfigError, NetError
from asyncemu.loop import AioContext, Clocks
from asyncemu.net.frame import DATA_VALID, GSO_TCPV4, NEEDS_CHECKSUM, PLAIN, VnetHeader
from asyncemu.net.tap import Tap, TapOptions
from asyncemu.net.tap.device import open_tap
from asyncemu.testing import until
from asyncemu.testing.memory_wire import Wire
from tests.net.frames import is_whole, numbered, payload_of, unfinished
from tests.net.tap.conftest import Body, Host

InNamespace = Callable[[Body], None]

#: packet(7): a header of virtio-net in front of each frame.
PACKET_VNET_HDR = 15
SOL_PACKET = 263


def ours(wire: Wire) -> list[bytes]:
    """What the test sent, among what the kernel says when an interface comes up."""
    return [frame for frame in wire.frames if frame[12:14] in (b"\x88\xb5", b"\x08\x00")]


@pytest.mark.parametrize("vnet_hdr", [True, False])
def test_frames_pass_both_ways(in_namespace: InNamespace, vnet_hdr: bool) -> None:
    async def body(host: Host) -> None:
        wire = await host.tap(vnet_hdr=vnet_hdr)
        raw = host.up()

        wire.feed(numbered(1), numbered(2, 1514))
        raw.send(numbered(3))
        raw.send(numbered(4, 1514))

        await until(lambda: len(ours(wire)) == 2)
        assert ours(wire) == [numbered(3), numbered(4, 1514)]
        received: list[bytes] = []
        while numbered(2, 1514) not in received:
            received.append(raw.recv(2000))
        assert numbered(1) in received

    in_namespace(body)


@pytest.mark.parametrize("vnet_hdr", [True, False])
def test_segment_of_the_guest_is_whole_for_the_host(in_namespace: InNamespace, vnet_hdr: bool) -> None:
    payload = bytes(range(250)) * 200

    async def body(host: Host) -> None:
        wire = await host.tap(vnet_hdr=vnet_hdr)
        raw = host.up()

        wire.feed(unfinished(payload))

        data = b""
        while len(data) < len(payload):
            frame = raw.recv(70_000)
            if frame[12:14] == b"\x08\x00":
                # A segment that the kernel would cut at the next wire is shown as it is, without a checksum.
                assert vnet_hdr or is_whole(frame)
                data += payload_of(frame)
        assert data == payload

    in_namespace(body)


def test_segment_of_the_host_is_whole_for_a_guest_that_takes_it(in_namespace: InNamespace) -> None:
    payload = bytes(range(250)) * 100
    frame = unfinished(payload)

    async def body(host: Host) -> None:
        wire = await host.tap()
        assert wire.peer is not None
        wire.peer.peer_offloads(True, True, True, True, True)
        raw = host.up()
        raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)

        raw.send(bytes.fromhex("0101 3600 e803 2200 1000") + frame.tobytes())

        await until(lambda: any(each.tobytes()[12:14] == b"\x08\x00" for each in wire.received))
        (received,) = [each for each in wire.received if each.tobytes()[12:14] == b"\x08\x00"]
        assert received.vnet == VnetHeader(NEEDS_CHECKSUM, GSO_TCPV4, received.vnet.header_length, 1000, 34, 16)
        assert payload_of(received.tobytes()) == payload

    in_namespace(body)


def test_segment_of_the_host_is_cut_for_a_guest_that_takes_none(in_namespace: InNamespace) -> None:
    payload = bytes(range(250)) * 100
    frame = unfinished(payload)

    async def body(host: Host) -> None:
        wire = await host.tap()
        raw = host.up()
        raw.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)

        raw.send(bytes.fromhex("0101 3600 e803 2200 1000") + frame.tobytes())

        await until(lambda: b"".join(map(payload_of, (f for f in ours(wire) if f[12:14] == b"\x08\x00"))) == payload)
        whole = [each for each in wire.received if each.tobytes()[12:14] == b"\x08\x00"]
        assert len(whole) == 25
        assert all(each.vnet is PLAIN or each.vnet.flags == DATA_VALID for each in whole)
        assert all(is_whole(each.tobytes()) for each in whole)

    in_namespace(body)


def test_full_guest_leaves_frames_with_the_host(in_namespace: InNamespace) -> None:
    async def body(host: Host) -> None:
        wire = await host.tap()
        raw = host.up()
        wire.room = 0
        for number in range(20):
            raw.send(numbered(number, 600))

        wire.accept()

        await until(lambda: len(ours(wire)) == 20)
        assert ours(wire) == [numbered(number, 600) for number in range(20)]

    in_namespace(body)


def test_interface_that_is_down_loses_frames(in_namespace: InNamespace) -> None:
    async def body(host: Host) -> None:
        wire = await host.tap()

        wire.feed(numbered(1))

        assert not wire.unsent
        assert host.netdevs[0]._queues[0].refused == 1

    in_namespace(body)


def test_each_queue_is_a_port(in_namespace: InNamespace) -> None:
    async def body(host: Host) -> None:
        await host.tap(queues=3)
        raw = host.up()
        wires = [port.peer for port in host.netdevs[0].ports]
        sent = [numbered(number) for number in range(3)]

        for wire, frame in zip(wires, sent, strict=True):
            assert isinstance(wire, Wire)
            wire.feed(frame)

        received: list[bytes] = []
        while not set(sent) <= set(received):
            received.append(raw.recv(2000))

    in_namespace(body)


def test_host_chooses_a_name(in_namespace: InNamespace) -> None:
    async def body(host: Host) -> None:
        await host.tap(ifname="")
        await host.tap(ifname="")

        assert [netdev.interface for netdev in host.netdevs] == ["tap0", "tap1"]

    in_namespace(body)


@pytest.mark.parametrize("option", ["fd", "fds"])
def test_descriptor_is_taken(in_namespace: InNamespace, option: str) -> None:
    async def body(host: Host) -> None:
        tap = open_tap("mine", True, False)
        number: Any = tap.fd if option == "fd" else str(tap.fd)
        wire = await host.tap(ifname=None, script=None, downscript=None, **{option: number})
        os.close(tap.fd)
        raw = host.up("mine")

        raw.send(numbered(1))

        await until(lambda: ours(wire) == [numbered(1)])

    in_namespace(body)


def test_interface_that_is_deleted_takes_the_link_down(
    in_namespace: InNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(host: Host) -> None:
        wire = await host.tap()
        host.up()

        host.ip("link del tap7")

        await until(lambda: not wire.carrier)

    in_namespace(body)
    assert caplog.messages == ["net0: use tap7: File descriptor in bad state; its link is down"]


def test_scripts_are_run_with_the_name_and_without_a_shell(in_namespace: InNamespace, tmp_path: Path) -> None:
    script = tmp_path / "a script"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/log\nip link set "$1" up\n')
    script.chmod(0o755)

    async def body(host: Host) -> None:
        await host.tap(script=str(script), downscript=str(script))
        up = ",UP" in host.ip("link show tap7")
        await host.netdevs[0].close()

        assert up
        assert (tmp_path / "log").read_text() == f"{script} tap7\n" * 2

    in_namespace(body)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("#!/bin/sh\nexit 3\n", "failed with status 3"),
        (None, "No such file or directory"),
    ],
)
def test_script_that_fails_is_an_error(
    in_namespace: InNamespace, tmp_path: Path, text: str | None, problem: str
) -> None:
    script = tmp_path / "up"
    if text is not None:
        script.write_text(text)
        script.chmod(0o755)

    async def body(host: Host) -> None:
        with pytest.raises(ConfigError) as caught:
            await host.tap(script=str(script))

        separator = " " if text else ": "
        assert caught.value.problem == f"network script {script}{separator}{problem}"
        assert "tap7" not in host.ip("link")

    in_namespace(body)


def test_downscript_that_fails_is_logged(
    in_namespace: InNamespace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    script = tmp_path / "down"
    script.write_text("#!/bin/sh\nexit 1\n")
    script.chmod(0o755)

    async def body(host: Host) -> None:
        await host.tap(downscript=str(script))
        await host.netdevs[0].close()

    in_namespace(body)
    assert caplog.messages == [f"net0: network script {script} failed with status 1"]


def helper_script(directory: Path, flags: int) -> str:
    """Opens ``helped`` for the bridge br1."""
    helper = directory / "helper"
    helper.write_text(
        f"#!{sys.executable} -SE\n"
        "import fcntl, os, socket, struct, sys\n"
        "fd = os.open('/dev/net/tun', os.O_RDWR)\n"
        f"fcntl.ioctl(fd, 0x400454CA, struct.pack('16sH22x', b'helped', {flags:#x}))\n"
        "assert sys.argv[1] == '--use-vnet' and sys.argv[3] == '--br=br1', sys.argv\n"
        "with socket.socket(fileno=int(sys.argv[2].removeprefix('--fd='))) as channel:\n"
        "    socket.send_fds(channel, [b'x'], [fd])\n"
    )
    helper.chmod(0o755)
    return str(helper)


@pytest.mark.parametrize("flags", [0x5002, 0x1002], ids=["vnet_hdr", "plain"])
def test_helper_opens_the_device(in_namespace: InNamespace, tmp_path: Path, flags: int) -> None:
    helper = helper_script(tmp_path, flags)

    async def body(host: Host) -> None:
        wire = await host.tap(ifname=None, script=None, downscript=None, helper=helper, br="br1")
        raw = host.up("helped")

        raw.send(numbered(1))

        await until(lambda: ours(wire) == [numbered(1)])

    in_namespace(body)


def test_device_without_the_header_that_is_asked_for_is_an_error(in_namespace: InNamespace, tmp_path: Path) -> None:
    helper = helper_script(tmp_path, 0x1002)

    async def body(host: Host) -> None:
        with pytest.raises(ConfigError) as caught:
            await host.tap(ifname=None, script=None, downscript=None, helper=helper, br="br1", vnet_hdr=True)

        assert str(caught.value) == "net0: helped has no headers of virtio-net; set vnet_hdr = false"

    in_namespace(body)


@pytest.mark.parametrize(
    ("helper", "problem"),
    [
        ("/bin/false", "bridge helper /bin/false failed with status 1"),
        ("/no/helper", "bridge helper /no/helper: No such file or directory"),
    ],
)
def test_helper_that_fails_is_an_error(in_namespace: InNamespace, helper: str, problem: str) -> None:
    async def body(host: Host) -> None:
        with pytest.raises(ConfigError) as caught:
            await host.tap(ifname=None, script=None, downscript=None, helper=helper)

        assert str(caught.value) == f"net0: {problem}"

    in_namespace(body)


def test_device_in_use_is_an_error(in_namespace: InNamespace) -> None:
    async def body(host: Host) -> None:
        await host.tap()

        with pytest.raises(ConfigError) as caught:
            await host.tap()

        assert str(caught.value) == "net1: open tap device tap7: Device or resource busy; somebody else uses it"

    in_namespace(body)


def test_device_of_another_kind_is_an_error(in_namespace: InNamespace) -> None:
    async def body(host: Host) -> None:
        with pytest.raises(ConfigError) as caught:
            await host.tap(ifname="lo")

        assert str(caught.value) == (
            "net0: open tap device lo: Invalid argument; "
            "it is of another kind, with fewer or more queues; or that is no name for one"
        )

    in_namespace(body)


async def opened(context: AioContext, **options: Any) -> None:
    netdev = Tap(TapOptions.model_validate({"script": "no", **options}), "net0", context, Clocks())
    await netdev.open()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errno.EACCES, "net0: open /dev/net/tun: Permission denied"),
        (errno.ENOENT, "net0: open /dev/net/tun: No such file or directory"),
        (errno.ENODEV, "net0: open /dev/net/tun: No such device"),
    ],
)
async def test_host_without_tun_is_an_error(
    context: AioContext, monkeypatch: pytest.MonkeyPatch, error: int, message: str
) -> None:
    def refuse(path: str, flags: int) -> int:
        raise OSError(error, os.strerror(error), path)

    monkeypatch.setattr("asyncemu.net.tap.device.os.open", refuse)

    with pytest.raises(NetError) as caught:
        await opened(context)

    assert str(caught.value) == message


async def test_user_without_permission_is_told_what_to_do(context: AioContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, want_header: bool, several: bool) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("asyncemu.net.tap.netdev.open_tap", refuse)

    with pytest.raises(ConfigError) as caught:
        await opened(context, ifname="tap3", queues=2)

    assert str(caught.value) == (
        "net0: open tap device tap3: Operation not permitted; "
        "have root make it: ip tuntap add dev tap3 mode tap user USER multi_queue"
    )


async def test_descriptor_that_is_no_tap_is_an_error(context: AioContext) -> None:
    ours, theirs = socket.socketpair()
    messages = []
    with ours, theirs:
        for fd in (ours.fileno(), 99_999):
            netdev = Tap(TapOptions(fd=fd), "net0", context, Clocks())
            with pytest.raises(ConfigError) as caught:
                await netdev.open()
            messages.append(str(caught.value).replace(str(ours.fileno()), "N"))

    assert messages == ["net0: fd N is not a tap device", "net0: fd 99999: Bad file descriptor"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"fd": 3, "ifname": "tap0"}, "ifname is not for a tap device with fd"),
        ({"fd": 3, "fds": "3:4"}, "fds is not for a tap device with fd"),
        ({"fds": "3:4", "queues": 2}, "queues is not for a tap device with fds"),
        ({"helper": "/x", "script": "no"}, "script is not for a tap device with helper"),
        ({"br": "br0"}, "br is only for helper"),
        ({"fds": "3:x"}, "write the numbers of open descriptors with colons in between"),
        ({"fds": ":".join(["3"] * 65)}, "65 descriptors are more than 64"),
        ({"ifname": "a" * 16}, "'aaaaaaaaaaaaaaaa' is longer than 15 bytes"),
    ],
)
def test_options_that_contradict_each_other_are_errors(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TapOptions.model_validate(options)


def test_queues_are_counted() -> None:
    counts = [TapOptions.model_validate(each).queue_count() for each in ({}, {"queues": 4}, {"fds": "3:4:5"})]

    assert counts == [1, 4, 3]
