# SPDX-License-Identifier: GPL-2.0-or-later
"""What is told of vCPUs, boards and iothreads."""

from __future__ import annotations

from pathlib import Path

from tests.monitor.commands.machine.conftest import Start


async def test_query_cpus_fast_names_the_thread_that_runs_the_guest(start: Start) -> None:
    vm = await start()

    (cpu,) = await vm("query-cpus-fast")

    assert Path(f"/proc/self/task/{cpu.pop('thread-id')}").exists()
    assert cpu == {"cpu-index": 0, "qom-path": "/machine/soc0/harts[0]", "props": {"core-id": 0}, "target": "riscv64"}


async def test_query_machines_has_the_board_that_the_machine_is(start: Start) -> None:
    vm = await start()

    machines = await vm("query-machines")

    assert [each["name"] for each in machines] == [vm.machine.options.type]
    assert machines[0]["default-cpu-type"] == "rv64-riscv-cpu"


async def test_query_target_and_current_machine(start: Start) -> None:
    vm = await start()

    assert await vm("query-target") == {"arch": "riscv64"}
    assert await vm("query-current-machine") == {"wakeup-suspend-support": False}


async def test_inject_nmi_board_without_one_is_refused(start: Start) -> None:
    vm = await start()

    assert await vm.refusal("inject-nmi") == ("GenericError", "this feature or command is not currently supported")


async def test_query_hotpluggable_cpus_is_refused(start: Start) -> None:
    vm = await start()

    assert await vm.refusal("query-hotpluggable-cpus") == (
        "GenericError",
        "The feature 'query-hotpluggable-cpus' is not enabled",
    )


async def test_query_iothreads_tells_their_parameters_and_threads(start: Start) -> None:
    vm = await start(iothread=[{"id": "io0", "poll-max-ns": 5}, {"id": "io1"}])

    first, second = await vm("query-iothreads")

    assert Path(f"/proc/self/task/{first.pop('thread-id')}").exists()
    assert first == {"id": "io0", "poll-max-ns": 5, "poll-grow": 0, "poll-shrink": 0, "aio-max-batch": 0}
    assert second["poll-max-ns"] == 32768
