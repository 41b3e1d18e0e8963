# SPDX-License-Identifier: GPL-2.0-or-later
"""What is behind an address and port of the guest's network: a program, a socket, a chardev, a Python function.

A Python function is an asyncio server of one connection, in the emulator itself:

    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"Hello " + await reader.readline())

The connection ends when it returns. QEMU: guestfwd.
"""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import inspect
import logging
import shlex
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeAlias

from asyncemu.coroutines import start
from asyncemu.net.filters.channel import Channel
from asyncemu.net.user.forwards import GuestForward, parse_target
from asyncemu.net.user.guestfwd_chardev import ChardevBridge
from asyncemu.net.user.stack import Stack
from asyncemu.net.user.tcp_relay import TcpRelay

logger: Final = logging.getLogger("asyncemu.net")

Function: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]

#: Programs and functions of one guestfwd that run at a time; a guest is not to fill the host with them.
MAX_RUNNING: Final = 256


class Service:
    """Opens a stream for each connection of the guest. Home: the stack's."""

    def __init__(self, stack: Stack, forward: GuestForward, channel: Channel | None = None) -> None:
        """``channel``: the chardev, where it is one. Raises ValueError: it can't be had, or there is no such function
        or command."""
        self.forward = forward
        self._stack = stack
        self._tasks: set[asyncio.Task[None]] = set()
        self._function: Function | None = None
        self._command: list[str] = []
        #: Of a chardev.
        self.bridge = ChardevBridge(stack.context, channel) if channel is not None else None
        if forward.kind == "python":
            self._function = load_function(forward.target)
        elif forward.kind == "cmd":
            self._command = shlex.split(forward.target)
            if not self._command:
                raise ValueError("cmd: has no program")

    def open(self, relay: TcpRelay) -> None:
        """An Opener."""
        if self.bridge is not None:
            self._join(relay, self.bridge)
        elif len(self._tasks) >= MAX_RUNNING:
            self._stack.drop("guestfwd connections beyond the limit")
            relay.opening_failed(errno.ECONNREFUSED)
        elif self.forward.kind == "python":
            assert self._function is not None
            self._call(relay, self._function)
        elif self.forward.kind == "cmd":
            self._run(self._spawn(relay))
        else:
            start(self._stack.context, self._connect(relay))

    @property
    def running(self) -> int:
        """Programs and functions that run."""
        return len(self._tasks)

    def _run(self, body: Awaitable[None]) -> None:
        async def run() -> None:
            await body

        task = self._stack.context.loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---- chardevs

    def _join(self, relay: TcpRelay, bridge: ChardevBridge) -> None:
        if bridge.is_busy:
            self._stack.drop("guestfwd connections to a chardev that has one")
            relay.opening_failed(errno.ECONNREFUSED)
            return
        ours, theirs = _pair()
        theirs.setblocking(False)
        relay.attach(ours)
        bridge.connect(theirs)

    # ---- Python

    def _call(self, relay: TcpRelay, function: Function) -> None:
        ours, theirs = _pair()
        relay.attach(ours)
        self._run(self._serve(theirs, function))

    async def _serve(self, sock: socket.socket, function: Function) -> None:
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            await function(reader, writer)
        except ConnectionError:
            # The guest has gone.
            pass
        except Exception as error:
            message = f"guestfwd {self.forward.target}"
            self._stack.context.loop.call_exception_handler({"message": message, "exception": error})
        finally:
            writer.close()
        try:
            await writer.wait_closed()
        except ConnectionError:
            pass

    # ---- programs

    async def _spawn(self, relay: TcpRelay) -> None:
        ours, theirs = _pair()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command, stdin=theirs.fileno(), stdout=theirs.fileno()
            )
        except OSError as error:
            ours.close()
            logger.error("guestfwd: %s: %s", self._command[0], error.strerror)
            relay.opening_failed(errno.ECONNREFUSED)
            self._stack.settle()
            return
        finally:
            theirs.close()
        relay.attach(ours)
        self._stack.settle()
        try:
            await process.wait()
        except asyncio.CancelledError:
            if process.returncode is None:
                process.kill()
                await process.wait()
            raise

    # ---- sockets of the host

    async def _connect(self, relay: TcpRelay) -> None:
        loop = self._stack.context.loop
        sock: socket.socket | None = None
        try:
            if self.forward.kind == "unix":
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                sock.connect(self.forward.target)
            else:
                host, port = parse_target(self.forward.target)
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                family, _, _, _, address = found[0]
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await loop.sock_connect(sock, address)
        except OSError as error:
            if sock is not None:
                sock.close()
            problem = error.errno if error.errno is not None and error.errno > 0 else errno.ECONNREFUSED
            # A full queue of a Unix socket (EAGAIN) and a missing file are as if nobody listened.
            in_way = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT)
            relay.opening_failed(problem if problem in in_way else errno.ECONNREFUSED)
        else:
            relay.attach(sock)
        self._stack.settle()

    async def close(self) -> None:
        """End the programs and functions that run, and leave the chardev."""
        if self.bridge is not None:
            self.bridge.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a stream; ours does not block."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return ours, theirs


def load_function(target: str) -> Function:
    """``FILE.py:FUNCTION``. Raises ValueError in a user's words."""
    name, _, function_name = target.rpartition(":")
    file = Path(name)
    module_name = f"asyncemu_guestfwd_{file.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ValueError(f"{file}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        first_line, _, _ = str(error).partition("\n")
        raise ValueError(f"{file}: {type(error).__name__}: {first_line}") from error
    function = getattr(module, function_name, None)
    if not inspect.iscoroutinefunction(function):
        raise ValueError(f"{file} has no async function {function_name!r}")
    return function
