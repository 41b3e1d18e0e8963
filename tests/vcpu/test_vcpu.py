# SPDX-License-Identifier: GPL-2.0-or-later
"""Thread, mailbox, kick, halt, pause and stop of a vCPU."""

from __future__ import annotations

import asyncio
import threading

import pytest

from asyncemu.vcpu import GuestFault
from asyncemu.vcpu.vcpu import State
from tests.vcpu.bench import RESULT
from tests.vcpu.conftest import MakeHart

COUNT_FOR_EVER = f"""
    li t0, {RESULT:#x}
1:  ld t1, 0(t0)
    addi t1, t1, 1
    sd t1, 0(t0)
    j 1b
"""

HALT_FOR_EVER = f"""
    li t0, {RESULT:#x}
    csrwi sstatus, 0
    li t1, 0x222
    csrw sie, t1
1:  wfi
    ld t1, 0(t0)
    addi t1, t1, 1
    sd t1, 0(t0)
    j 1b
"""


async def test_run_on_cpu_while_guest_runs_returns_its_value_from_that_thread(make_hart: MakeHart) -> None:
    hart = make_hart(COUNT_FOR_EVER)
    await hart.until(lambda: hart.word() > 0)

    name = await hart.vcpu.run_on_cpu(lambda: threading.current_thread().name)

    assert name == "hart"


async def test_run_on_cpu_exception_is_raised_to_the_caller(make_hart: MakeHart) -> None:
    hart = make_hart(COUNT_FOR_EVER)

    with pytest.raises(ZeroDivisionError):
        await hart.vcpu.run_on_cpu(lambda: 1 // 0)


async def test_async_run_on_cpu_jobs_run_in_order(make_hart: MakeHart) -> None:
    hart = make_hart(COUNT_FOR_EVER)
    order: list[int] = []

    for number in range(100):
        hart.vcpu.async_run_on_cpu(lambda number=number: order.append(number))  # type: ignore[misc]
    await hart.vcpu.run_on_cpu(lambda: None)

    assert order == list(range(100))


async def test_kick_from_many_threads_every_job_is_done(make_hart: MakeHart) -> None:
    hart = make_hart(HALT_FOR_EVER)
    done: list[int] = []

    def post() -> None:
        for number in range(200):
            hart.vcpu.async_run_on_cpu(lambda number=number: done.append(number))  # type: ignore[misc]

    threads = [threading.Thread(target=post) for _ in range(4)]
    for thread in threads:
        thread.start()
    await hart.until(lambda: len(done) == 800)
    for thread in threads:
        thread.join()

    assert len(done) == 800


async def test_pause_guest_makes_no_step_until_resumed(make_hart: MakeHart) -> None:
    hart = make_hart(COUNT_FOR_EVER)
    await hart.until(lambda: hart.word() > 0)

    await hart.pause()
    counted = hart.word()
    await hart.vcpu.run_on_cpu(lambda: None)
    still = hart.word()
    hart.run()
    await hart.until(lambda: hart.word() > counted)

    assert still == counted


async def test_pause_halted_guest_returns(make_hart: MakeHart) -> None:
    hart = make_hart(HALT_FOR_EVER)
    await hart.until(lambda: hart.vcpu.statistics()["halts"] > 0)

    await hart.pause()

    assert hart.vcpu.state is State.PAUSED


async def test_halt_without_interrupt_thread_sleeps(make_hart: MakeHart) -> None:
    hart = make_hart(HALT_FOR_EVER)
    await hart.until(lambda: hart.vcpu.statistics()["halts"] > 0)

    entries = hart.vcpu.statistics()["entries"]
    for _ in range(100):
        await asyncio.sleep(0)

    assert hart.vcpu.statistics()["entries"] == entries


async def test_halt_line_raised_guest_goes_on(make_hart: MakeHart) -> None:
    hart = make_hart(HALT_FOR_EVER)
    await hart.until(lambda: hart.vcpu.statistics()["halts"] > 0)

    hart.cpu.set_line(1 << 9, True)
    await hart.until(lambda: hart.word() > 0)

    assert hart.word() > 0


async def test_halt_line_that_is_not_enabled_guest_sleeps_on(make_hart: MakeHart) -> None:
    hart = make_hart(HALT_FOR_EVER.replace("0x222", "0x022"))
    await hart.until(lambda: hart.vcpu.statistics()["halts"] > 0)
    halts = hart.vcpu.statistics()["halts"]

    hart.cpu.set_line(1 << 9, True)
    await hart.until(lambda: hart.vcpu.statistics()["halts"] > halts)
    entries = hart.vcpu.statistics()["entries"]
    for _ in range(100):
        await asyncio.sleep(0)

    # A kick ends one halt (WFI may return for any reason); then the hart halts again and stays there.
    assert hart.vcpu.statistics()["entries"] == entries


async def test_stop_ends_the_thread(make_hart: MakeHart) -> None:
    hart = make_hart(COUNT_FOR_EVER)

    await hart.vcpu.stop()

    assert hart.vcpu.state is State.STOPPED
    assert "hart" not in [thread.name for thread in threading.enumerate()]


async def test_fault_guest_without_trap_handler_is_reported_and_pause_still_returns(make_hart: MakeHart) -> None:
    hart = make_hart("unimp")

    fault = await hart.until_fault()
    await hart.vcpu.run_on_cpu(lambda: None)

    assert isinstance(fault, GuestFault)
    assert str(fault) == "hart 0 at 0x80000000: exception 2 and no trap handler in stvec"
