# SPDX-License-Identifier: GPL-2.0-or-later
"""Life of a machine, in this process, with guests of a few instructions."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncemu.errors import BlockError, ConfigError
from asyncemu.machine import ExitReason, Machine, RunState
from asyncemu.vcpu.vcpu import State
from tests.machine.conftest import Make
from tests.vcpu.bench import assemble

#: SBI system reset: shutdown (type 0) for reason a1.
SHUTDOWN = "li a0, 0; li a1, {reason}; li a6, 0; li a7, 0x53525354; ecall; 1: j 1b"
#: Store to the SiFive test finisher.
FINISH = "li t0, 0x100000; li t1, {value}; sw t1, 0(t0); 1: j 1b"
COUNT = "la t0, counter; 1: ld t1, 0(t0); addi t1, t1, 1; sd t1, 0(t0); j 1b; .balign 8; counter: .quad 0"


async def ended(machine: Machine) -> ExitReason:
    """Build, start, and wait for the end."""
    await machine.build()
    machine.start()
    async with asyncio.timeout(30):
        return await machine.wait_for_exit()


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until ``condition`` holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("source", "reason", "state"),
    [
        (SHUTDOWN.format(reason=0), ExitReason.GUEST_SHUTDOWN, RunState.SHUTDOWN),
        (SHUTDOWN.format(reason=1), ExitReason.GUEST_FAILURE, RunState.GUEST_PANICKED),
        (FINISH.format(value=0x5555), ExitReason.GUEST_SHUTDOWN, RunState.SHUTDOWN),
        (FINISH.format(value=0x13333), ExitReason.GUEST_FAILURE, RunState.GUEST_PANICKED),
        ("unimp", ExitReason.GUEST_FAILURE, RunState.INTERNAL_ERROR),
    ],
    ids=["sbi", "sbi-failure", "finisher", "finisher-failure", "fault"],
)
async def test_machine_guest_ends_it_with_its_reason(
    make: Make, source: str, reason: ExitReason, state: RunState
) -> None:
    machine = make(source)

    assert await ended(machine) is reason
    assert machine.state is state


async def test_machine_guest_resets_runs_again_from_unchanged_images(make: Make) -> None:
    # The first run finds the flag in its image zero, sets it in RAM and reboots; so would every run, were RAM not
    # loaded anew. The RTC's alarm register tells the runs apart: a reset clears it too, so the wall clock must do it.
    source = """
        la t0, flag
        ld t1, 0(t0)
        bnez t1, bad
        li t1, 1
        sd t1, 0(t0)
        li t2, 0x101000
        lw t3, 0(t2)
        lw t4, 4(t2)
        slli t4, t4, 32
        slli t3, t3, 32
        srli t3, t3, 32
        or t3, t3, t4
        rdtime t5
        li t6, 2000000
        bgtu t5, t6, done
        li t0, 0x100000
        li t1, 0x7777
        sw t1, 0(t0)
    1:  j 1b
    done:
        li t0, 0x100000
        li t1, 0x5555
        sw t1, 0(t0)
    2:  j 2b
    bad:
        li t0, 0x100000
        li t1, 0x3333
        sw t1, 0(t0)
    3:  j 3b
        .balign 8
    flag: .quad 0
    """
    machine = make(source)

    # Guest time goes on over resets: after 200 ms of reboots the guest powers off.
    assert await ended(machine) is ExitReason.GUEST_SHUTDOWN


async def test_machine_paused_option_makes_no_step_until_resumed(make: Make) -> None:
    machine = make(COUNT, machine={"paused": True})
    await machine.build()
    before = bytes(machine.ram.view[2 << 20 : (2 << 20) + 4096])

    machine.start()
    await machine.vcpus[0].run_on_cpu(lambda: None)
    still = bytes(machine.ram.view[2 << 20 : (2 << 20) + 4096])
    machine.resume()
    await until(lambda: bytes(machine.ram.view[2 << 20 : (2 << 20) + 4096]) != before)

    assert still == before


async def test_machine_pause_stops_guest_time(make: Make) -> None:
    machine = make(COUNT)
    await machine.build()
    machine.start()

    await machine.pause()
    first = machine.clocks.virtual.now()
    await machine.vcpus[0].run_on_cpu(lambda: None)

    assert machine.state is RunState.PAUSED
    assert machine.clocks.virtual.now() == first


async def test_machine_without_kernel_or_firmware_waits(make: Make) -> None:
    machine = make()
    await machine.build()

    machine.start()
    await until(lambda: machine.vcpus[0].statistics()["halts"] > 0)

    assert machine.state is RunState.RUNNING
    assert not machine.exited.done()


async def test_machine_firmware_starts_in_m_mode(make: Make, tmp_path: Path) -> None:
    firmware = tmp_path / "firmware.bin"
    # mhartid can be read in M-mode only; elsewhere this is an exception without a handler.
    firmware.write_bytes(assemble(f"csrr t0, mhartid; {FINISH.format(value=0x5555)}"))
    machine = make(machine={"firmware": str(firmware)})

    assert await ended(machine) is ExitReason.GUEST_SHUTDOWN


async def test_machine_sbi_console_output_reaches_the_uarts_chardev(make: Make, tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    source = f"li a0, 'H'; li a6, 2; li a7, 0x4442434E; ecall; {SHUTDOWN.format(reason=0)}"
    machine = make(source, chardev=[{"id": "console", "backend": "file", "path": str(log)}])

    await ended(machine)
    await machine.close()

    assert log.read_bytes() == b"H"


async def test_machine_closed_in_the_middle_of_build_gives_everything_back(make: Make, tmp_path: Path) -> None:
    machine = make(
        blockdev=[
            {"node-name": "good", "driver": "null-co"},
            {"node-name": "bad", "driver": "file", "filename": str(tmp_path / "missing")},
        ]
    )

    with pytest.raises(ConfigError, match="missing"):
        await machine.build()
    await machine.close()

    assert machine.block.nodes == {}


async def test_machine_nine_virtio_devices_is_one_line(make: Make) -> None:
    with pytest.raises(ConfigError, match=r"device\[8\].*all 8 virtio slots"):
        await make(device=[{"driver": "virtio-rng"}] * 9).build()


async def test_machine_too_little_memory_for_its_images_is_one_line(make: Make) -> None:
    machine = make(COUNT, machine={"memory": "2MiB"})

    with pytest.raises(ConfigError, match=r"machine\.memory"):
        await machine.build()


async def test_machine_close_when_the_disk_fails_closes_the_rest_too(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise BlockError("disk0", errno.EIO, "flush")

    machine = make(blockdev=[{"node-name": "disk0", "driver": "null-co"}])
    await machine.build()
    disk = machine.block.nodes["disk0"]
    monkeypatch.setattr(disk.driver, "close", fail)

    with pytest.raises(ExceptionGroup, match="block graph"):
        await machine.close()

    assert machine.ram.fd == -1
    assert machine.vcpus[0].state is State.STOPPED
