# SPDX-License-Identifier: GPL-2.0-or-later
"""Processes: what the one that started us has left open, ``--fork``, and the file with our number."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from asyncemu.cli.tools.failure import ToolError

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncBufferedIOBase

    from asyncemu.cli.nbd.settings import Settings

#: sd_listen_fds(3): the first descriptor that a service manager passes on.
FIRST_ACTIVATED: Final = 3


# ---- socket activation


def activated_sockets() -> int:
    """How many listening sockets a service manager has passed on to us, and not to one of our children. Once."""
    count = _environment_number("LISTEN_FDS") if _environment_number("LISTEN_PID") == os.getpid() else 0
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    try:
        for fd in range(FIRST_ACTIVATED, FIRST_ACTIVATED + count):
            os.set_inheritable(fd, False)
    except OSError as error:
        raise ToolError(f"Socket activation failed: invalid file descriptor fd = {fd}: {error.strerror}") from error
    return count


def _environment_number(name: str) -> int:
    text = os.environ.get(name, "")
    # More sockets than one are refused anyhow; this many are no work to look at.
    return int(text) if text.isascii() and text.isdigit() and len(text) < 8 else 0


def check_activation(settings: Settings, count: int) -> None:
    """ToolError: options that say where to listen, when that is decided already."""
    decided = {
        "NBD device": settings.device,
        "Unix socket": settings.socket_path,
        "The interface": settings.interface,
        "TCP port number": settings.port,
        "SELinux label": settings.selinux_label,
    }
    for what, value in decided.items():
        if value is not None:
            raise ToolError(f"{what} can't be set when using socket activation")
    if settings.list:
        raise ToolError("List mode is incompatible with socket activation")
    if count > 1:
        raise ToolError("qemu-nbd does not support socket activation with LISTEN_FDS > 1")


# ---- the background


def go_to_background() -> int | None:
    """None in a process of its own, whose complaints go to ours until ``started``.

    In the one that was called: its exit status, when the other one has started or ended. As of qemu-nbd's, it is a
    failure when there was any complaint, a warning included.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return _relay(reading, child)
    os.close(reading)
    os.setsid()
    # Its child again: without a terminal, and never to get one.
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd, target in ((null, 0), (null, 1), (writing, 2)):
        os.dup2(fd, target)
    os.close(null)
    os.close(writing)
    return None


def _relay(reading: int, child: int) -> int:
    failed = False
    while data := os.read(reading, 4096):
        failed = True
        try:
            os.write(2, data)
        except OSError:
            pass  # nobody is there to read it
    os.close(reading)
    os.waitpid(child, 0)
    return 1 if failed else 0


def started(settings: Settings) -> None:
    """The server runs: whoever waits for that need not any more, and no file system is kept busy by our directory."""
    os.chdir("/")
    if settings.fork:
        os.dup2(1, 2)


async def write_pid_file(path: str) -> AsyncBufferedIOBase:
    """Our process's number, in a file that is locked while what is returned is open. ToolError.

    Clients are there already: they must not wait for a slow file system.
    """
    import aiofiles

    try:
        # Its buffer has one line: what is written goes to the file with the flush.
        file = await aiofiles.open(path, "wb", opener=_open_pid_file)
    except OSError as error:
        raise ToolError(f"Could not create '{path}': {os.strerror(error.errno or 0)}") from error
    try:
        fcntl.lockf(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        await file.truncate(0)
        await file.write(b"%d\n" % os.getpid())
        await file.flush()
    except BlockingIOError as error:
        await file.close()
        raise ToolError(f"Cannot lock pid file: {os.strerror(error.errno or 0)}") from error
    except OSError as error:
        await file.close()
        raise ToolError(f"Failed to write pid file: {os.strerror(error.errno or 0)}") from error
    return file


def _open_pid_file(path: str, flags: int) -> int:
    """Not emptied: it may be another process's."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


# ---- SELinux


@contextmanager
def socket_label(label: str | None) -> Iterator[None]:
    """Sockets that are made within have this SELinux label. ToolError: the kernel does not take it."""
    if label is None:
        yield
        return
    try:
        _set_socket_label(label.encode("utf-8", "surrogateescape"))
    except OSError as error:
        problem = os.strerror(error.errno or 0)
        raise ToolError(f"Cannot set SELinux socket create context to {label}: {problem}") from error
    try:
        yield
    finally:
        _set_socket_label(b"")


def _set_socket_label(label: bytes) -> None:
    with open("/proc/thread-self/attr/sockcreate", "wb", buffering=0) as file:  # noqa: PTH123  # pathlib takes long
        file.write(label + b"\0" if label else b"")
