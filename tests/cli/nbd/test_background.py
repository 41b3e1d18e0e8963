# SPDX-License-Identifier: GPL-2.0-or-later
"""--fork, --pid-file, and sockets that a service manager passes on."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.nbd.conftest import OURS, Servers, qemu_nbd, refused, run


def _end(number: int) -> None:
    """End a server that is nobody's child here, and wait for it."""
    descriptor = os.pidfd_open(number)
    try:
        os.kill(number, signal.SIGTERM)
        assert select.select([descriptor], [], [], 30)[0]
    finally:
        os.close(descriptor)


def test_fork_returns_when_clients_can_come(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--fork", "--pid-file", "pid", "-t", "-k", str(tmp_path / "socket"), "-f", "raw", "disk.raw")
    found = subprocess.run([*OURS, *words], cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")
    number = int((tmp_path / "pid").read_text())
    try:
        assert (tmp_path / "pid").read_bytes() == b"%d\n" % number
        assert run("nbdinfo", "--size", f"nbd+unix:///?socket={tmp_path}/socket") == "1048576\n"
        assert os.getsid(number) != os.getsid(0)
        assert Path(f"/proc/{number}/cwd").readlink() == Path("/")
        assert {Path(f"/proc/{number}/fd/{fd}").readlink() for fd in range(3)} == {Path("/dev/null")}
        second = refused(
            monkeypatch, "--pid-file", "pid", "-k", str(tmp_path / "other"), "--image-opts", "driver=null-co,size=1M"
        )
        assert second.errors == "qemu-nbd: Cannot lock pid file: Resource temporarily unavailable\n"
        assert second.status == 1
    finally:
        _end(number)
    assert not (tmp_path / "socket").exists()
    assert (tmp_path / "pid").exists()


def test_fork_that_fails_says_why(servers: Servers, tmp_path: Path) -> None:
    words = ("--fork", "-k", str(tmp_path / "socket"), "-f", "raw", "missing")
    found = subprocess.run([*OURS, *words], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (found.returncode, found.stderr) == (1, qemu_nbd(*words).errors)


@pytest.fixture
def listener(tmp_path: Path) -> socket.socket:
    """A socket that listens, as a service manager makes one."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(tmp_path / "activated"))
    made.listen(5)
    return made


_ACTIVATE = """\
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


def _activated(servers: Servers, listener: socket.socket, *words: str) -> subprocess.Popen[bytes]:
    """Ours with ``listener`` as descriptor 3, and told so."""
    number = listener.fileno()
    return servers.process(sys.executable, "-c", _ACTIVATE, str(number), *OURS, *words, pass_fds=(number,))


def test_activated_socket_is_served(servers: Servers, listener: socket.socket, tmp_path: Path) -> None:
    with listener:
        process = _activated(servers, listener, "-f", "raw", "disk.raw")
        assert run("nbdinfo", "--size", f"nbd+unix:///?socket={tmp_path}/activated") == "1048576\n"
        assert process.wait(30) == 0
    # It is not ours to remove.
    assert (tmp_path / "activated").exists()


REFUSED = [
    (("-k", "/x", "disk.raw"), "Unix socket can't be set when using socket activation"),
    (("-p", "5", "disk.raw"), "TCP port number can't be set when using socket activation"),
    (("-b", "127.0.0.1", "disk.raw"), "The interface can't be set when using socket activation"),
    (("-c", "/dev/nbd0", "disk.raw"), "NBD device can't be set when using socket activation"),
    (("--selinux-label=x", "disk.raw"), "SELinux label can't be set when using socket activation"),
    (("-L",), "List mode is incompatible with socket activation"),
]


@pytest.mark.parametrize(("words", "problem"), REFUSED, ids=[words[0] for words, _ in REFUSED])
def test_option_that_contradicts_activation_is_refused(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], problem: str
) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setattr("os.set_inheritable", lambda fd, inheritable: None)
    found = refused(monkeypatch, *words)
    assert (found.status, found.errors) == (1, f"qemu-nbd: {problem}\n")


def test_several_activated_sockets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setattr("os.set_inheritable", lambda fd, inheritable: None)
    found = refused(monkeypatch, "disk.raw")
    assert found.errors == "qemu-nbd: qemu-nbd does not support socket activation with LISTEN_FDS > 1\n"


def test_sockets_of_another_process_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    from asyncemu.cli.nbd.daemon import activated_sockets

    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    monkeypatch.setenv("LISTEN_FDS", "1")
    assert activated_sockets() == 0
    assert "LISTEN_FDS" not in os.environ
