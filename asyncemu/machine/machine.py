# SPDX-License-Identifier: GPL-2.0-or-later
"""Machine: parts put together, and their life from building to the end.

    build --> start --> (see run_state.py) --> close

Everything here is called at the machine's home, the main context, but for the two requests of ``Platform``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asyncemu import author_errors
from asyncemu.block import BlockGraph
from asyncemu.block.control.exports import BlockExports
from asyncemu.block.events import EventObserver
from asyncemu.chardev import MuxCommand
from asyncemu.chardev.registry import ChardevSet
from asyncemu.devices import Environment
from asyncemu.errors import AsyncemuError, ConfigError
from asyncemu.events import Event, EventBus, GuestPanicked, Reset, Resume, Shutdown, ShutdownCause, Stop
from asyncemu.loop import AioContext, Clocks, IOThread, IOThreadParameters, SteppedSource, any_thread, home
from asyncemu.machine import boot
from asyncemu.machine.device_set import DeviceSet
from asyncemu.machine.dump.guest_dump import GuestDump
from asyncemu.machine.homes import MONITOR_IOTHREAD, Homes, MonitorChardev, Users
from asyncemu.machine.networks import Networks
from asyncemu.machine.objects import UserObjects
from asyncemu.machine.options import MachineOptions
from asyncemu.machine.run_state import NEEDS_RESET, ActionOptions, ExitReason, RunState
from asyncemu.machine.saving import save_disks
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
        monitors: Sequence[MonitorChardev] = (),
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
        #: Has the guest made a step, ever?
        self.has_run = False
        #: QEMU: set-action.
        self.actions: ActionOptions = options.action
        self.events = EventBus(context)
        self.memory = AddressSpace()
        self.iothreads: dict[str, IOThread] = {}
        self.block = BlockGraph(context, directory)
        self.block.observer = EventObserver(self.events)
        self.exports = BlockExports(self.block, self._iothread_context)
        self.chardevs = ChardevSet(context)
        self.chardevs.on_command = self._chardev_command
        self.chardevs.tls_credentials = self.block.tls_credentials
        self.net = Networks(context, self.clocks, self.context_of, self.lookup, self.events.emit)
        self.objects = UserObjects(self)
        self.devices = DeviceSet(self)
        self.dump = GuestDump(self)
        self.vcpus: list[VCpu] = []
        self._qtest: QtestServer | None = None
        self.exited: asyncio.Future[ExitReason] = context.loop.create_future()
        self._iothread_parameters = iothreads or {}
        self._throttle_groups = throttle_groups or {}
        self._configured = (chardevs, blockdevs, devices)
        self._monitors = monitors
        #: Where QMP monitors live, when there are any; none of the user's iothreads. QEMU: mon_iothread.
        self.monitor_iothread: IOThread | None = None
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
        self._undo.callback(author_errors.install_if_free(self.context.loop))
        self.ram = GuestRam(self.options.memory)
        self._undo.callback(self.ram.close)
        self.environment = Environment(self.context, self.memory, self.clocks, self, self.lookup)
        self.board = Virt(self.environment, self.memory, self.ram)
        # Behind all that lives in them, also of those that come later.
        self._undo.push_async_callback(self._stop_iothreads)
        for index, (name, parameters) in enumerate(self._iothread_parameters.items()):
            await self.add_iothread(name, parameters, f"iothread[{index}]")
        homes = Homes(Users(devices, netdevs, netfilters, self.options.serial, self._monitors))
        if any(monitor.apart for monitor in self._monitors):
            self.monitor_iothread = await self._start_iothread("mon_iothread", IOThreadParameters(poll_max_ns=0), "qmp")
            self._undo.push_async_callback(self.monitor_iothread.stop)
        self._undo.push_async_callback(self.chardevs.close)
        for index, configured in enumerate(chardevs):
            context = self.context_of(homes.of("chardev", configured.identity))
            await self._add_chardev(configured, f"chardev[{index}]", context)
        for monitor in self._monitors:
            if monitor.own is not None:
                await self._add_chardev(monitor.own, monitor.where, self.context_of(MONITOR_IOTHREAD))
        await self.net.add_netdevs(netdevs, devices, homes, self._undo)
        await self.net.add_filters(netfilters, self._undo)
        self._undo.push_async_callback(self.block.close)
        self._undo.push_async_callback(self.exports.close)
        # Of a machine that stands still: behind its devices, which take nothing more from their rings.
        self._undo.push_async_callback(self._quiet.aclose)
        if self._throttle_groups:
            self._add_throttle_groups()
        for index, table in enumerate(blockdevs):
            await self.block.add_table(table, f"blockdev[{index}]")
        self._undo.push_async_callback(self.devices.close)
        for index, configured in enumerate(devices):
            await self.devices.add(configured, f"device[{index}]")
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
        self._undo.push_async_callback(self.dump.close)
        await loading

    @home
    async def add_iothread(self, name: str, parameters: IOThreadParameters, where: str = "iothread") -> None:
        """One more, whose name is not taken. Raises ConfigError."""
        self.iothreads[name] = await self._start_iothread(name, parameters, where)

    async def _start_iothread(self, name: str, parameters: IOThreadParameters, where: str) -> IOThread:
        iothread = IOThread(self.context, name, parameters)
        try:
            await iothread.start()
        except (OSError, RuntimeError) as error:
            await iothread.stop()
            raise ConfigError(where, f"the host has no thread or descriptors for it: {error}", "use fewer") from error
        except BaseException:
            await iothread.stop()
            raise
        return iothread

    async def _stop_iothreads(self) -> None:
        for iothread in self.iothreads.values():
            await iothread.stop()

    def _add_throttle_groups(self) -> None:
        groups = self.block.throttle_groups
        # A machine that is driven from outside has no time of its own.
        groups.clock = self.clocks.virtual if self.options.qtest else self.clocks.realtime
        for index, (name, config) in enumerate(self._throttle_groups.items()):
            groups.add(name, config, f"throttle-group[{index}]")

    @any_thread
    def context_of(self, iothread: str) -> AioContext:
        """The context that an option ``iothread`` means; empty: the main one. KeyError: there is no such one."""
        if iothread == MONITOR_IOTHREAD and self.monitor_iothread is not None:
            return self.monitor_iothread.aio_context
        return self.iothreads[iothread].aio_context if iothread else self.context

    def _iothread_context(self, iothread: str) -> AioContext | None:
        """The context of an iothread; None: there is no such one."""
        return self.iothreads[iothread].aio_context if iothread in self.iothreads else None

    async def _add_chardev(self, configured: Configured, where: str, context: AioContext) -> None:
        name = configured.identity
        if not name:
            raise ConfigError(f"{where}.id", "is missing")
        if name in self.chardevs:
            raise ConfigError(f"{where}.id", f"{name!r} is taken already")
        await self.chardevs.add(configured, where, context)

    @any_thread
    def lookup(self, kind: str, name: str) -> Any:
        """What an option that refers to the table ``kind`` means by ``name``; KeyError: nothing."""
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
            monitored = any(monitor.chardev == DEFAULT_CONSOLE for monitor in self._monitors)
            if free is None or ((free.frontend is not None or monitored) and not free.is_mux()):
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
        device, context = self.devices[id], self.context_of(iothread)
        slot = next((slot for slot in self.board.slots if slot.device is device), None)
        if slot is None:
            raise AsyncemuError(f"{id}: only virtio devices can move to an iothread")
        await slot.move(context)

    # ---- running

    @home
    def start(self) -> None:
        """Let the guest run, or leave the machine paused when the options say so."""
        if not self.options.paused:
            self.resume()
        if self._qtest is not None:
            self._qtest.start()

    @home
    def resume(self) -> None:
        """Nothing happens when it runs or needs a reset. QEMU: vm_start."""
        if self.state is not RunState.RUNNING and self.state not in NEEDS_RESET:
            self._run()
            self.events.emit(Resume())

    def _run(self) -> None:
        self.state = RunState.RUNNING
        self.has_run = True
        self._resuming = self.context.loop.create_task(self._quiet.aclose())
        self.clocks.run_virtual(True)
        for vcpu in self.vcpus:
            vcpu.cpu.clock_changed()
            vcpu.resume()

    @home
    async def pause(self, state: RunState = RunState.PAUSED) -> None:
        """Guest time stands still, no vCPU is in the guest, no request is in flight. QEMU: vm_stop."""
        if self.state is RunState.RUNNING:
            self.state = state
            await self._halt()
            self.events.emit(Stop())

    async def _halt(self) -> None:
        for vcpu in self.vcpus:
            await vcpu.pause()
        # Not before: a guest that reads the time until it is out would see it go back when it is let in again.
        self.clocks.run_virtual(False)
        if self._resuming is not None:
            await self._resuming
        # Until the machine goes on: what the guest had rung for and was not popped yet stays in its rings.
        await self._quiet.enter_async_context(self.block.devices_quiet())
        await self._quiet.enter_async_context(self.net.quiet())

    @home
    async def reset(self, reason: ShutdownCause = "host-qmp-system-reset") -> None:
        """Everything as at power-on, the boot images loaded again. QEMU: qemu_system_reset."""
        running = self.state is RunState.RUNNING
        if running:
            self.state = RunState.PAUSED
            await self._halt()
        await self.board.reset()
        self.ram.clear()
        await self.context.worker_pool.run(self._boot.load, self.board.ram_base, self.ram)
        for vcpu in self.vcpus:
            await vcpu.run_on_cpu(vcpu.cpu.reset)
        if self._qtest is not None:
            self._qtest.hart.reset()
        self.events.emit(Reset(guest=reason.startswith("guest"), reason=reason))
        if running:
            self._run()
        else:
            self.state = RunState.PRELAUNCH

    @home
    async def system_reset(self) -> None:
        """What the reset button does: ``reset``, or what ``actions`` say; returns when it is done. Raises nothing."""
        await self.wait_settled()
        self._begin_reset("host-qmp-system-reset")
        await self.wait_settled()

    @home
    async def wait_settled(self) -> None:
        """Until a reset and a stop that have begun have ended, however."""
        begun = [task for task in (self._resetting, self._stopping) if task is not None]
        if begun:
            await asyncio.wait(begun)

    @home
    async def wait_for_exit(self) -> ExitReason:
        """Until the guest has powered off, failed, or somebody quit."""
        return await asyncio.shield(self.exited)

    # ---- Platform, for devices and firmware

    @any_thread
    def request_shutdown(self, failed: bool) -> None:
        """See devices.Platform."""
        self.context.schedule_oneshot(self._panicked if failed else lambda: self._shut_down("guest-shutdown"))

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
            self._begin_stop(RunState.IO_ERROR)

    def _begin_stop(self, state: RunState) -> None:
        self._stopping = self.context.loop.create_task(self.pause(state))
        self._stopping.add_done_callback(self._change_ended)

    def _shut_down(self, cause: ShutdownCause) -> None:
        if self.actions.shutdown == "poweroff":
            self._end(ExitReason.GUEST_SHUTDOWN, RunState.SHUTDOWN, cause)
        else:
            self.events.emit(Shutdown(guest=cause.startswith("guest"), reason=cause))
            self._begin_stop(RunState.SHUTDOWN)

    def _panicked(self) -> None:
        """QEMU: qemu_system_guest_panicked."""
        actions = self.actions
        if actions.panic == "none":
            self.events.emit(GuestPanicked(action="run"))
        elif actions.panic == "pause" or (actions.panic == "shutdown" and actions.shutdown == "pause"):
            self.events.emit(GuestPanicked(action="pause"))
            self._begin_stop(RunState.GUEST_PANICKED)
        else:
            self.events.emit(GuestPanicked(action="poweroff"))
            failed = actions.panic == "exit-failure"
            reason = ExitReason.GUEST_FAILURE if failed else ExitReason.GUEST_SHUTDOWN
            self._end(reason, RunState.GUEST_PANICKED, "guest-panic")

    @home
    def resume_after_io_error(self) -> None:
        """Go on after ``request_io_error_stop``, if that is why the machine stands still or is about to."""
        if self.state is RunState.IO_ERROR and self._stopping is not None:
            self._stopping.add_done_callback(lambda _: self.resume())

    def _begin_reset(self, reason: ShutdownCause) -> None:
        if self.actions.reboot == "shutdown":
            self._shut_down(reason)
        elif self._resetting is None or self._resetting.done():
            self._resetting = self.context.loop.create_task(self.reset(reason))
            self._resetting.add_done_callback(self._change_ended)

    def _change_ended(self, task: asyncio.Task[None]) -> None:
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
        elif command is MuxCommand.SAVE:
            self.context.schedule_oneshot(self._save)

    def _save(self) -> None:
        self._saving = self.context.loop.create_task(save_disks(self.block))

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
