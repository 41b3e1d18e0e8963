# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine: parts put together, and their life from building to the end.

    build --> PRELAUNCH --start--> RUNNING <--pause/resume--> PAUSED
                                      |  reset (stays RUNNING or PAUSED); IO_ERROR is PAUSED, by a back end
                                      +--> SHUTDOWN, GUEST_PANICKED, INTERNAL_ERROR --> close

Everything here is called at the machine's home, the main context, but for the two requests of ``Platform``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from asyncemu.block import BlockGraph, BlockNode, move_nodes
from asyncemu.chardev import Chardev, MuxCommand
from asyncemu.devices import Device, Environment
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.events import Event, EventBus, Reset, Resume, Shutdown, ShutdownCause, Stop
from asyncemu.loop import AioContext, Clocks, IOThread, IOThreadParameters, SteppedSource, any_thread, home
from asyncemu.machine import boot
from asyncemu.machine.homes import Homes, Users, home_of
from asyncemu.machine.networks import Networks
from asyncemu.machine.options import MachineOptions
from asyncemu.machine.references import resolve
from asyncemu.machine.virt import Virt
from asyncemu.memory import AddressSpace, GuestRam
from asyncemu.plugin_options import Configured
from asyncemu.vcpu import GuestFault, VCpu
from asyncemu.vcpu.sbi import Sbi
from asyncemu.vcpu.tcg.riscv import RiscvCpu

if TYPE_CHECKING:
    from asyncemu.block.throttle.config import ThrottleConfig
    from asyncemu.machine.qtest import QtestServer

log = logging.getLogger("asyncemu.machine")

#: The chardev that the UART takes when nothing is said.
DEFAULT_CONSOLE = "console"


class RunState(enum.Enum):
    """QEMU's RunState names."""

    PRELAUNCH = "prelaunch"
    RUNNING = "running"
    PAUSED = "paused"
    IO_ERROR = "io-error"
    SHUTDOWN = "shutdown"
    GUEST_PANICKED = "guest-panicked"
    INTERNAL_ERROR = "internal-error"


class ExitReason(enum.Enum):
    """Why a machine ended."""

    GUEST_SHUTDOWN = "guest-shutdown"
    #: The guest said that something is wrong, or can't go on.
    GUEST_FAILURE = "guest-failure"
    #: The user ended it from outside (Ctrl-A x).
    QUIT = "quit"


class Machine:
    """A machine of configured parts; ``await build()``, then ``start``, then ``await wait_for_exit()``, ``close``."""

    def __init__(
        self,
        context: AioContext,
        options: MachineOptions,
        *,
        iothreads: Mapping[str, IOThreadParameters] | None = None,
        throttle_groups: Mapping[str, ThrottleConfig] | None = None,
        chardevs: Sequence[Configured] = (),
        netdevs: Sequence[Configured] = (),
        netfilters: Sequence[Configured] = (),
        blockdevs: Sequence[Mapping[str, Any]] = (),
        devices: Sequence[Configured] = (),
        directory: Path | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        self.context = context
        self.options = options
        self.clocks = clocks or Clocks(SteppedSource(context) if options.qtest else None)
        self.state = RunState.PRELAUNCH
        self.events = EventBus(context)
        self.memory = AddressSpace()
        self.iothreads: dict[str, IOThread] = {}
        self.block = BlockGraph(context, directory)
        self.chardevs: dict[str, Chardev[Any]] = {}
        self.net = Networks(context, self.clocks, self._context_of)
        self.devices: dict[str, Device[Any]] = {}
        self.vcpus: list[VCpu] = []
        self._qtest: QtestServer | None = None
        self.exited: asyncio.Future[ExitReason] = context.loop.create_future()
        self._iothread_parameters = iothreads or {}
        self._throttle_groups = throttle_groups or {}
        self._configured = (chardevs, blockdevs, devices)
        self._networks = (netdevs, netfilters)
        self._resetting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        # Keeps the users of block nodes quiet while the machine is paused; and the end of that.
        self._quiet = AsyncExitStack()
        self._resuming: asyncio.Task[None] | None = None
        # Each step of build leaves its undoing here; close does them backwards, all of them, whatever one raises.
        self._undo = AsyncExitStack()

    # ---- building

    @home
    async def build(self) -> None:
        """Open, make and connect everything. Raises ConfigError; ``close`` undoes what was done until then."""
        chardevs, blockdevs, devices = self._configured
        netdevs, netfilters = self._networks
        self.ram = GuestRam(self.options.memory)
        self._undo.callback(self.ram.close)
        environment = Environment(self.context, self.memory, self.clocks, self, self._lookup)
        self.board = Virt(environment, self.memory, self.ram)
        for index, (name, parameters) in enumerate(self._iothread_parameters.items()):
            await self._add_iothread(name, parameters, f"iothread[{index}]")
        homes = Homes(Users(devices, netdevs, netfilters, self.options.serial))
        for index, configured in enumerate(chardevs):
            context = self._context_of(homes.of("chardev", configured.identity))
            await self._add_chardev(configured, f"chardev[{index}]", context)
        await self.net.add_netdevs(netdevs, devices, homes, self._lookup, self._undo)
        await self.net.add_filters(netfilters, self._lookup, self._undo)
        self._undo.push_async_callback(self.block.close)
        # Of a machine that stands still: behind its devices, which take nothing more from their rings.
        self._undo.push_async_callback(self._quiet.aclose)
        if self._throttle_groups:
            self._add_throttle_groups()
        for index, table in enumerate(blockdevs):
            await self.block.add_table(table, f"blockdev[{index}]")
        for index, configured in enumerate(devices):
            await self._add_device(configured, environment, f"device[{index}]")
        self.net.warn_of_loose_ends()
        self._connect_serial()
        for device in self.board.own_devices:
            self._undo.push_async_callback(device.unrealize)
            await device.realize()
        self._boot = await self.context.worker_pool.run(
            boot.prepare, self.options, self.board.ram_base, self._device_tree
        )
        # Copying a kernel takes as long as making a hart, and needs no GIL.
        loading = self.context.worker_pool.submit(self._boot.load, self.board.ram_base, self.ram)
        if self.options.qtest:
            await self._add_qtest()
        else:
            self._make_vcpu()
        await loading

    async def _add_iothread(self, name: str, parameters: IOThreadParameters, where: str) -> None:
        iothread = IOThread(self.context, name, parameters)
        self._undo.push_async_callback(iothread.stop)
        try:
            await iothread.start()
        except (OSError, RuntimeError) as error:
            raise ConfigError(where, f"the host has no thread or descriptors for it: {error}", "use fewer") from error
        self.iothreads[name] = iothread

    def _add_throttle_groups(self) -> None:
        groups = self.block.throttle_groups
        # A machine that is driven from outside has no time of its own.
        groups.clock = self.clocks.virtual if self.options.qtest else self.clocks.realtime
        for index, (name, config) in enumerate(self._throttle_groups.items()):
            groups.add(name, config, f"throttle-group[{index}]")

    def _context_of(self, iothread: str) -> AioContext:
        """The context that an option ``iothread`` means; empty: the main one."""
        return self.iothreads[iothread].aio_context if iothread else self.context

    async def _add_chardev(self, configured: Configured, where: str, context: AioContext) -> None:
        name = configured.identity
        if not name:
            raise ConfigError(f"{where}.id", "is missing")
        if name in self.chardevs:
            raise ConfigError(f"{where}.id", f"{name!r} is taken already")
        chardev = cast("type[Chardev[Any]]", configured.plugin)(configured.options, name, context)
        self.chardevs[name] = chardev
        chardev.on_command = self._chardev_command
        self._undo.push_async_callback(context.call, chardev.close)
        try:
            await context.call(chardev.open)
        except ConfigError as error:
            # It names itself by its id, which is not where the user finds it in vm.toml.
            raise ConfigError(where, error.problem, error.remedy) from error
        except (AsyncemuError, OSError) as error:
            raise ConfigError(where, str(error)) from error

    async def _add_device(self, configured: Configured, environment: Environment, where: str) -> None:
        name = configured.identity or f"{configured.plugin.name}{len(self.devices)}"
        if name in self.devices:
            raise ConfigError(f"{where}.id", f"{name!r} is taken already")
        context = self._context_of(home_of(configured))
        await context.call(lambda: self._make_device(configured, name, environment, context, where))

    async def _make_device(
        self, configured: Configured, name: str, environment: Environment, context: AioContext, where: str
    ) -> None:
        """In ``context``, the device's home, while the main context waits for it."""
        environment = dataclasses.replace(environment, context=context)
        device = cast("type[Device[Any]]", configured.plugin)(configured.options, name, environment)
        resolve(device, self._lookup, where)
        self.board.plug(device, where)
        self.devices[name] = device
        self._undo.push_async_callback(self._unrealize, device)
        try:
            drive = getattr(device, "drive", None)
            if isinstance(drive, BlockNode):
                await move_nodes(drive, context)
            await device.realize()
            self.net.connected(device)
        except ConfigError as error:
            raise ConfigError(f"{where}.{error.where}", error.problem, error.remedy) from error
        except (AsyncemuError, OSError, ValueError) as error:
            raise ConfigError(where, str(error)) from error

    async def _unrealize(self, device: Device[Any]) -> None:
        # Asked for now: it may have moved since it was made.
        await device.context.call(device.unrealize)

    def _lookup(self, kind: str, name: str) -> Any:
        tables: dict[str, Mapping[str, Any]] = {
            "chardev": self.chardevs,
            "blockdev": self.block.nodes,
            "iothread": self.iothreads,
            "netdev": self.net.netdevs,
            "netfilter": self.net.filters,
        }
        return tables[kind][name]

    def _connect_serial(self) -> None:
        name = self.options.serial
        if not name:
            free = self.chardevs.get(DEFAULT_CONSOLE)
            if free is None or (free.frontend is not None and not free.options.mux):
                return
            name = DEFAULT_CONSOLE
        if name not in self.chardevs:
            raise ConfigError("machine.serial", f"no chardev has the id {name!r}")
        self.board.uart.chardev = self.chardevs[name]

    def _device_tree(self, initrd: tuple[int, int] | None) -> bytes:
        return self.board.device_tree(self.options.append, initrd)

    def _make_vcpu(self) -> None:
        sbi = None if self._boot.firmware else Sbi(self, self.memory)
        cpu = RiscvCpu(self.memory, self.clocks.virtual, self._boot.entry, self._boot.arguments, sbi=sbi)
        self.board.wire([cpu], self._boot.firmware)
        vcpu = VCpu(cpu, self.context, self.clocks.virtual, "CPU 0/TCG", self._vcpu_failed)
        self.vcpus.append(vcpu)
        self._undo.push_async_callback(vcpu.stop)
        # Before the vCPU stops: it may be waiting at a fence for what a device does.
        self._undo.push_async_callback(self._close_slots)
        vcpu.start()

    async def _add_qtest(self) -> None:
        # Imported when it is needed: machines with a CPU do not wait for it.
        from asyncemu.machine.qtest import QtestServer

        server = QtestServer(self, self._qtest_ended)
        self._undo.push_async_callback(server.close)
        self._undo.push_async_callback(self._close_slots)
        await server.listen(self.options.qtest)
        self._qtest = server

    def _qtest_ended(self, error: BaseException | None) -> None:
        if error is None:
            self.quit("host-signal")
        else:
            self._vcpu_failed(error)

    async def _close_slots(self) -> None:
        for slot in self.board.slots:
            await slot.context.call(slot.close)

    @any_thread
    def contexts(self) -> list[AioContext]:
        """The main context and those of the iothreads."""
        return [self.context, *(iothread.aio_context for iothread in self.iothreads.values())]

    @home
    async def move_device(self, id: str, iothread: str = "") -> None:
        """Make an iothread (empty: the main loop) the home of a virtio device, and of its disk; under I/O.

        KeyError: there is no such device or iothread. AsyncemuError: it can't move, and stays where it is.
        """
        device, context = self.devices[id], self._context_of(iothread)
        slot = next((slot for slot in self.board.slots if slot.device is device), None)
        if slot is None:
            raise AsyncemuError(f"{id}: only virtio devices can move to an iothread")
        await slot.move(context)

    # ---- running

    @home
    def start(self) -> None:
        """Let the guest run, or leave the machine paused when the options say so."""
        self.state = RunState.PAUSED
        if not self.options.paused:
            self.resume()
        if self._qtest is not None:
            self._qtest.start()

    @home
    def resume(self) -> None:
        """QEMU: vm_start."""
        if self.state not in (RunState.PAUSED, RunState.IO_ERROR):
            return
        self.state = RunState.RUNNING
        self._resuming = self.context.loop.create_task(self._quiet.aclose())
        self.clocks.run_virtual(True)
        for vcpu in self.vcpus:
            vcpu.cpu.clock_changed()
            vcpu.resume()
        self.events.emit(Resume())

    @home
    async def pause(self, state: RunState = RunState.PAUSED) -> None:
        """Guest time stands still, no vCPU is in the guest, no request is in flight. QEMU: vm_stop."""
        if self.state is not RunState.RUNNING:
            return
        self.state = state
        for vcpu in self.vcpus:
            await vcpu.pause()
        # Not before: a guest that reads the time until it is out would see it go back when it is let in again.
        self.clocks.run_virtual(False)
        if self._resuming is not None:
            await self._resuming
        # Until the machine goes on: what the guest had rung for and was not popped yet stays in its rings.
        await self._quiet.enter_async_context(self.block.drained())
        await self._quiet.enter_async_context(self.net.quiet())
        self.events.emit(Stop())

    @home
    async def reset(self, reason: ShutdownCause = "host-qmp-system-reset") -> None:
        """Everything as at power-on, the boot images loaded again. QEMU: qemu_system_reset."""
        running = self.state is RunState.RUNNING
        await self.pause()
        await self.board.reset()
        self.ram.clear()
        await self.context.worker_pool.run(self._boot.load, self.board.ram_base, self.ram)
        for vcpu in self.vcpus:
            await vcpu.run_on_cpu(vcpu.cpu.reset)
        if self._qtest is not None:
            self._qtest.hart.reset()
        self.events.emit(Reset(guest=reason.startswith("guest"), reason=reason))
        if running:
            self.resume()

    @home
    async def wait_reset(self) -> None:
        """Until a reset that has begun has ended, however."""
        if self._resetting is not None:
            await asyncio.wait([self._resetting])

    @home
    async def wait_for_exit(self) -> ExitReason:
        """Until the guest has powered off, failed, or somebody quit."""
        return await asyncio.shield(self.exited)

    # ---- Platform, for devices and firmware

    @any_thread
    def request_shutdown(self, failed: bool) -> None:
        """See devices.Platform."""
        reason = ExitReason.GUEST_FAILURE if failed else ExitReason.GUEST_SHUTDOWN
        state = RunState.GUEST_PANICKED if failed else RunState.SHUTDOWN
        cause: ShutdownCause = "guest-panic" if failed else "guest-shutdown"
        self.context.schedule_oneshot(lambda: self._end(reason, state, cause))

    @any_thread
    def quit(self, cause: ShutdownCause = "host-qmp-quit") -> None:
        """End the machine from outside. QEMU: qmp_quit."""
        self.context.schedule_oneshot(lambda: self._end(ExitReason.QUIT, RunState.SHUTDOWN, cause))

    @any_thread
    def request_reset(self, reason: ShutdownCause = "guest-reset") -> None:
        """See devices.Platform."""
        self.context.schedule_oneshot(lambda: self._begin_reset(reason))

    @any_thread
    def request_io_error_stop(self) -> None:
        """See devices.Platform."""
        self.context.schedule_oneshot(self._begin_io_error_stop)

    @any_thread
    def emit(self, event: Event) -> None:
        """See devices.Platform."""
        self.events.emit(event)

    def _begin_io_error_stop(self) -> None:
        if self.state is RunState.RUNNING:
            self._stopping = self.context.loop.create_task(self.pause(RunState.IO_ERROR))
            self._stopping.add_done_callback(self._reset_ended)

    @home
    def resume_after_io_error(self) -> None:
        """Go on after ``request_io_error_stop``, if that is why the machine stands still or is about to."""
        if self.state is RunState.IO_ERROR and self._stopping is not None:
            self._stopping.add_done_callback(lambda _: self.resume())

    def _begin_reset(self, reason: ShutdownCause) -> None:
        if self._resetting is None or self._resetting.done():
            self._resetting = self.context.loop.create_task(self.reset(reason))
            self._resetting.add_done_callback(self._reset_ended)

    def _reset_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.context.loop.call_exception_handler({"message": "machine reset or stop", "exception": error})
            self._end(ExitReason.GUEST_FAILURE, RunState.INTERNAL_ERROR, "host-error")

    @any_thread
    def console_write(self, data: bytes) -> int:
        """The firmware's console is the UART, as it is OpenSBI's."""
        return self.board.uart.firmware_write(data)

    @any_thread
    def console_read(self, limit: int) -> bytes:
        """See ``console_write``."""
        return self.board.uart.firmware_read(limit)

    # ---- the end

    def _chardev_command(self, command: MuxCommand) -> None:
        if command is MuxCommand.QUIT:
            self.quit("host-ui")

    def _vcpu_failed(self, error: BaseException) -> None:
        if isinstance(error, GuestFault):
            log.error("%s", error)
        else:
            self.context.loop.call_exception_handler({"message": "vCPU thread", "exception": error})
        self._end(ExitReason.GUEST_FAILURE, RunState.INTERNAL_ERROR, "host-error")

    def _end(self, reason: ExitReason, state: RunState, cause: ShutdownCause) -> None:
        if not self.exited.done():
            self.state = state
            self.events.emit(Shutdown(guest=cause.startswith("guest"), reason=cause))
            self.exited.set_result(reason)

    @home
    async def close(self) -> None:
        """Stop the vCPUs, finish what is in flight, flush and close everything. Works after a failed ``build``."""
        if self._resetting is not None and not self._resetting.done():
            self._resetting.cancel()
        self.clocks.run_virtual(False)
        await self._undo.aclose()
