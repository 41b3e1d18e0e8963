# SPDX-License-Identifier: GPL-2.0-or-later
"""The qtest server: a machine's devices driven from outside, by QEMU's qtest protocol, without a CPU.

    listening ──client──▶ serving ──client leaves──▶ ended (and the machine with it)

A socket chardev is the way to the client, with its flow control: no more is read than CommandBuffer has room for, and
a client that does not read its answers waits for itself. One task does the commands, one after the other, and is the
only one that writes. What a client sends can't take more of the host than that, nor hold up the loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from asyncemu.chardev import ChardevEvent
from asyncemu.chardev.address import InetAddress, parse_address
from asyncemu.chardev.socket import Socket, SocketOptions
from asyncemu.errors import ConfigError, HostError
from asyncemu.loop import SteppedSource, any_thread, home
from asyncemu.machine import qtest_protocol as protocol
from asyncemu.machine.qtest_bus import BLOCK_ACCESS, QtestBus
from asyncemu.machine.qtest_commands import (
    ClockSet,
    ClockStep,
    Command,
    Endianness,
    Failure,
    Fill,
    Intercept,
    Read,
    ReadValue,
    Write,
    WriteValue,
)
from asyncemu.machine.qtest_hart import QtestHart

if TYPE_CHECKING:
    from asyncemu.machine.machine import Machine

#: A child of the chardevs' logger: the user should see where a client is waited for.
logger: Final = logging.getLogger("asyncemu.chardev.qtest")

#: Interrupts that are not told of yet: a client that lets more come while it reads nothing is hung up on. Arbitrary.
MAX_INTERRUPTS: Final = 1 << 16


class Wires(Protocol):
    """A device whose inputs can be intercepted: the PLIC, the hart."""

    #: Called with a wire's number and its new level, from any thread.
    on_line: Callable[[int, bool], None] | None


class QtestServer:
    """Home: the machine's. ``listen``, then ``start`` with the machine; ``close`` in any case.

    It wires a QtestHart to the machine's board, whose clocks are over a SteppedSource. ``on_end`` is called when the
    client has left, with the error when it was a bug (of a device, say) that ended the service.
    """

    def __init__(self, machine: Machine, on_end: Callable[[BaseException | None], object]) -> None:
        if not isinstance(machine.clocks.source, SteppedSource):
            raise TypeError(f"qtest needs clocks over a SteppedSource, not {machine.clocks.source!r}")
        self.context = machine.context
        self.hart = QtestHart(machine.context, machine.clocks.virtual)
        machine.board.wire([self.hart], firmware=True)
        self._machine = machine
        self._bus = QtestBus(machine.memory)
        self._source = machine.clocks.source
        #: What PATH can mean.
        self._wires: Mapping[str, Wires] = {"plic": machine.board.plic, "cpu0": self.hart}
        self._on_end = on_end
        self._socket: Socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._commands = protocol.CommandBuffer()
        self._left = False
        #: There may be something to do: a command, an interrupt, the end.
        self._attention = asyncio.Event()
        self._has_room = asyncio.Event()
        self._intercepted = ""
        self._interrupts: deque[tuple[int, bool]] = deque()
        self._interrupt_bh = machine.context.bh_new(self._attention.set, "qtest-irq")

    @home
    async def listen(self, address: str) -> None:
        """At ``unix:PATH`` or ``tcp:HOST:PORT``. Raises ConfigError."""
        where = parse_address(address)
        table = {"host": where.host, "port": where.port} if isinstance(where, InetAddress) else {"path": where}
        options = SocketOptions.model_validate({**table, "server": True, "wait": False})
        self._socket = Socket(options, "qtest", self.context)
        try:
            await self._socket.open()
        except ConfigError as error:
            raise ConfigError("machine.qtest", error.problem, "give another address") from error
        except HostError as error:
            problem = f"listen at {address}: {os.strerror(error.errno)}"
            raise ConfigError("machine.qtest", problem, "give another address") from error
        logger.info("waits for a client at %s", self._socket.address)

    @property
    def address(self) -> str:
        """Where it listens, with the port that the kernel has chosen for 0; empty before ``listen``."""
        return self._socket.address if self._socket is not None else ""

    @property
    def unsent(self) -> int:
        """Bytes of answers that the client has not taken yet; more are not buffered than the chardev does."""
        return self._socket.unsent if self._socket is not None else 0

    @home
    def start(self) -> None:
        """Serve the client, when there is one."""
        assert self._socket is not None
        self._task = self.context.loop.create_task(self._serve(self._socket))
        self._task.add_done_callback(self._ended)
        self._socket.attach(self)

    @home
    async def close(self) -> None:
        """Hang up, listen no more; an access to a device is done to its end."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._intercept("")
        self.hart.close()
        await self._bus.close()
        if self._socket is not None:
            await self._socket.close()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._on_end(task.exception())

    # ---- as the socket's front end

    @home
    def can_receive(self) -> int:
        """See Frontend. Nothing when the client has left: there is one."""
        return 0 if self._left else self._commands.room

    @home
    def receive(self, data: bytes) -> None:
        """See Frontend."""
        self._commands.feed(data)
        self._attention.set()

    @home
    def chardev_event(self, event: ChardevEvent) -> None:
        """See Frontend."""
        if event is ChardevEvent.CLOSED:
            self._left = True
            self._attention.set()

    @home
    def writable(self) -> None:
        """See Frontend."""
        self._has_room.set()

    # ---- the task

    async def _serve(self, socket: Socket) -> None:
        while len(self._interrupts) < MAX_INTERRUPTS:
            await self._send_interrupts(socket)
            command = self._commands.take()
            if command is not None:
                answer = protocol.fail(command.reason) if isinstance(command, Failure) else await self._do(command)
                # What a command has brought about is told of before its answer, as in QEMU.
                await self._send_interrupts(socket)
                await self._send(socket, answer)
                socket.accept_input()
                # Many commands wait for nothing, and a buffer full of them must not hold up the loop.
                await asyncio.sleep(0)
            elif self._left:
                return
            else:
                self._attention.clear()
                if not self._interrupts:
                    await self._attention.wait()
        logger.error("%d interrupts were not read; hanging up", MAX_INTERRUPTS)

    async def _send_interrupts(self, socket: Socket) -> None:
        lines = [protocol.irq(*self._interrupts.popleft()) for _ in range(len(self._interrupts))]
        if lines:
            await self._send(socket, b"".join(lines))

    async def _send(self, socket: Socket, data: bytes) -> None:
        # What is sent to a client that has left is taken, and discarded.
        while data := data[socket.write(data) :]:
            self._has_room.clear()
            await self._has_room.wait()

    async def _do(self, command: Command) -> bytes:
        match command:
            case ClockStep() | ClockSet():
                return await self._move_clock(command)
            case ReadValue(address, size):
                data = await self._bus.read(address, size, size)
                return protocol.ok_value(int.from_bytes(data, "little"))
            case WriteValue(address, size, value):
                await self._write(address, value.to_bytes(size, "little"), size)
            case Read(address, size):
                return protocol.ok_data(command, await self._bus.read(address, size))
            case Write(address, data):
                await self._write(address, data)
            case Fill(address, size, value):
                await self._write(address, bytes([value]) * size)
            case Endianness():
                return protocol.ok("little")
            case Intercept(path, outputs):
                if path not in self._wires or outputs:
                    inputs = f"; known: inputs of {', '.join(self._wires)}"
                    return protocol.fail(("No outputs can be intercepted" if outputs else "Unknown device") + inputs)
                if self._intercepted not in ("", path):
                    return protocol.fail("IRQ intercept already enabled")
                self._intercept(path)
        return protocol.ok()

    async def _write(self, address: int, data: bytes, widest: int = BLOCK_ACCESS) -> None:
        await self._bus.write(address, data, widest)
        # Bottom halves of the main loop that it has scheduled, and what was posted there, come before the answer.
        passed = asyncio.Event()
        self.context.schedule_oneshot(passed.set)
        await passed.wait()

    async def _move_clock(self, command: ClockStep | ClockSet) -> bytes:
        # Guest time stands still during a reset; whoever has written to the register for it need not know.
        await self._machine.wait_settled()
        clock = self._machine.clocks.virtual
        try:
            match command:
                case _ if not clock.enabled:
                    return protocol.fail("Guest time stands still: the machine is paused")
                case ClockStep(None):
                    await self._source.step_to_next_deadline()
                case ClockStep(ns):
                    await self._source.step(ns or 0)
                case ClockSet(ns):
                    await self._source.step(max(0, ns - clock.now()))
        except RuntimeError as error:
            return protocol.fail(str(error))
        return protocol.ok(str(clock.now()))

    # ---- interrupts

    def _intercept(self, path: str) -> None:
        if self._intercepted:
            self._wires[self._intercepted].on_line = None
        self._intercepted = path
        if path:
            self._wires[path].on_line = self._line_changed

    @any_thread
    def _line_changed(self, number: int, level: bool) -> None:
        if len(self._interrupts) < MAX_INTERRUPTS:
            self._interrupts.append((number, level))
        self._interrupt_bh.schedule()
