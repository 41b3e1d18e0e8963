# SPDX-License-Identifier: GPL-2.0-or-later
"""The error tree: what each says, and what catches it."""

from __future__ import annotations

import errno

import pytest

from asyncemu.errors import (
    AsyncemuError,
    BlockError,
    ChardevError,
    ConfigError,
    ConfigErrors,
    GuestError,
    HostError,
    NetError,
    ProtocolError,
)

ONE = ConfigError("machine.kernel", "vmlinux: no such file", "give the path of a riscv64 kernel")
OTHER = ConfigError("machine.smp", "is missing")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ONE, "machine.kernel: vmlinux: no such file; give the path of a riscv64 kernel"),
        (OTHER, "machine.smp: is missing"),
        (ConfigErrors([ONE, OTHER]), f"{ONE}\n{OTHER}"),
        (GuestError("descriptor 7 reaches past RAM", "virtio-blk"), "virtio-blk: descriptor 7 reaches past RAM"),
        (GuestError("descriptor 7 reaches past RAM"), "descriptor 7 reaches past RAM"),
        (BlockError("disk0", errno.EIO, "read of 512 bytes at 0"), "disk0: read of 512 bytes at 0: Input/output error"),
        (ChardevError("console", errno.ECONNREFUSED), "console: Connection refused"),
        (NetError("net0", errno.ENETUNREACH), "net0: Network is unreachable"),
        (ProtocolError("nbd client 3", 28, "magic is 0"), "nbd client 3, byte 28: magic is 0"),
    ],
)
def test_message_says_where_and_what(error: AsyncemuError, message: str) -> None:
    assert str(error) == message


def test_config_error_keeps_its_parts() -> None:
    assert (ONE.where, ONE.problem, ONE.remedy) == (
        "machine.kernel",
        "vmlinux: no such file",
        "give the path of a riscv64 kernel",
    )


def test_config_errors_is_a_config_error_with_all_in_order() -> None:
    errors = ConfigErrors(iter([ONE, OTHER]))

    assert errors.errors == (ONE, OTHER)
    assert isinstance(errors, ConfigError)
    assert (errors.where, errors.problem, errors.remedy) == ("", str(errors), "")


@pytest.mark.parametrize("kind", [BlockError, ChardevError, NetError])
def test_host_errors_carry_name_and_errno(kind: type[HostError]) -> None:
    error = kind("disk0", errno.ENOSPC)

    assert (error.name, error.errno) == ("disk0", errno.ENOSPC)


@pytest.mark.parametrize("kind", [ConfigError, ConfigErrors, GuestError, HostError, ProtocolError])
def test_all_are_asyncemu_errors(kind: type[Exception]) -> None:
    assert issubclass(kind, AsyncemuError)


def test_guest_and_protocol_errors_keep_their_parts() -> None:
    guest, protocol = GuestError("loop", "virtio-rng"), ProtocolError("peer", 3, "short")

    assert (guest.problem, guest.device) == ("loop", "virtio-rng")
    assert (protocol.peer, protocol.offset) == ("peer", 3)
