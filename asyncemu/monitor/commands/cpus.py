# SPDX-License-Identifier: GPL-2.0-or-later
"""The vCPUs, and the boards that they are on."""

from __future__ import annotations

from typing import Literal

from asyncemu.machine.virt import HARTS
from asyncemu.monitor.command import Call, command
from asyncemu.monitor.errors import QmpError
from asyncemu.wire_model import WireModel


class CpuInstanceProperties(WireModel):
    """QEMU: CpuInstanceProperties, of boards with nothing but cores."""

    core_id: int


class CpuInfoFast(WireModel):
    """QEMU: CpuInfoFast."""

    cpu_index: int
    qom_path: str
    #: As the kernel numbers threads.
    thread_id: int
    props: CpuInstanceProperties
    target: Literal["riscv64"]


class MachineInfo(WireModel):
    """QEMU: MachineInfo."""

    name: str
    is_default: bool
    cpu_max: int
    hotpluggable_cpus: bool
    numa_mem_supported: bool
    deprecated: bool
    default_cpu_type: str
    default_ram_id: str


class TargetInfo(WireModel):
    """QEMU: TargetInfo."""

    arch: Literal["riscv64"]


class CurrentMachineParams(WireModel):
    """QEMU: CurrentMachineParams."""

    wakeup_suspend_support: bool


class HotpluggableCpu(WireModel):
    """QEMU: HotpluggableCPU."""

    type: str
    vcpus_count: int
    props: CpuInstanceProperties
    qom_path: str | None = None


@command("query-cpus-fast")
async def query_cpus_fast(call: Call) -> list[CpuInfoFast]:
    """The vCPUs, without asking them anything. A machine for qtest has none."""
    return [
        CpuInfoFast(
            cpu_index=index,
            qom_path=f"/machine/soc0/harts[{index}]",
            thread_id=vcpu.thread_id,
            props=CpuInstanceProperties(core_id=index),
            target="riscv64",
        )
        for index, vcpu in enumerate(call.control.machine.vcpus)
    ]


@command("query-hotpluggable-cpus")
async def query_hotpluggable_cpus(call: Call) -> list[HotpluggableCpu]:
    """No board has any."""
    raise QmpError("The feature 'query-hotpluggable-cpus' is not enabled")


@command("query-machines")
async def query_machines(call: Call) -> list[MachineInfo]:
    """The boards that ``[machine] type`` may name."""
    return [
        MachineInfo(
            name="virt",
            is_default=True,
            cpu_max=HARTS,
            hotpluggable_cpus=False,
            numa_mem_supported=False,
            deprecated=False,
            default_cpu_type="rv64-riscv-cpu",
            default_ram_id="riscv_virt_board.ram",
        )
    ]


@command("query-target")
async def query_target(call: Call) -> TargetInfo:
    """The architecture of the guest."""
    return TargetInfo(arch="riscv64")


@command("query-current-machine")
async def query_current_machine(call: Call) -> CurrentMachineParams:
    """The board can't suspend."""
    return CurrentMachineParams(wakeup_suspend_support=False)


@command("inject-nmi")
async def inject_nmi(call: Call) -> None:
    """The board has no way to give its harts one, as in QEMU."""
    raise QmpError("this feature or command is not currently supported")
