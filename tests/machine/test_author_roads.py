# SPDX-License-Identifier: GPL-2.0-or-later
"""A whole machine with a user's parts that fail: what the user reads, and that the machine goes on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from asyncemu import author_errors
from asyncemu.errors import ConfigError
from asyncemu.machine import Machine, RunState
from tests.machine.conftest import Make, Serve

DEVICE = """
from asyncemu.devices import MmioDevice, reg
from asyncemu.options import Options

class Mine(MmioDevice[Options], name="{name}", size=0x1000):
    failing = reg(0x00)

    @failing.on_write
    def on_write(self, value):
        {write}

    @failing.on_bus_read
    def on_read(self):
        return {read}

    def __init__(self, *arguments):
        super().__init__(*arguments)
        {constructor}

    async def realize(self):
        {realize}

    async def reset(self):
        {reset}

    async def unrealize(self):
        {unrealize}
"""

#: The devices of the board `virt` that vm.toml names begin here, as in QEMU.
PLATFORM_BUS = 0x400_0000


@pytest.fixture(autouse=True)
def no_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed in other tests is not counted."""
    monkeypatch.setattr(author_errors, "_times", author_errors._Times())


def plugin(directory: Path, **bodies: str) -> str:
    """A device of which the methods do what ``bodies`` say: its ``plugin``."""
    name = f"mine-{abs(hash(directory))}"
    defaults = dict.fromkeys(("write", "constructor", "realize", "reset", "unrealize"), "pass")
    path = directory / f"mine_{abs(hash(directory))}.py"
    path.write_text(DEVICE.format(**{"name": name, "read": "7", **defaults, **bodies}))
    return f"{path}:Mine"


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "asyncemu.author"]


async def built(make: Make, tmp_path: Path, **tables: Any) -> Machine:
    machine = make("1: j 1b", **tables)
    await machine.build()
    return machine


@pytest.mark.parametrize("place", ["constructor", "realize"])
async def test_device_that_can_t_be_made_is_a_config_error_with_file_and_line(
    make: Make, tmp_path: Path, place: str
) -> None:
    device = {"plugin": plugin(tmp_path, **{place: "1 / 0"})}
    function = {"constructor": "__init__"}.get(place, place)

    with pytest.raises(ConfigError) as raised:
        await built(make, tmp_path, device=[device])

    pattern = rf"device\[0\]: ZeroDivisionError: division by zero, at {tmp_path}/mine_\d+\.py:\d+ in {function}"
    assert re.fullmatch(pattern, str(raised.value))


async def test_value_error_in_realize_has_its_line_too(make: Make, tmp_path: Path) -> None:
    device = {"plugin": plugin(tmp_path, realize="raise ValueError('not so')")}

    with pytest.raises(ConfigError, match=r"^device\[0\]: ValueError: not so, at .*:\d+ in realize$"):
        await built(make, tmp_path, device=[device])


async def test_unrealize_that_raises_is_reported_and_the_rest_is_closed(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = {"plugin": plugin(tmp_path, unrealize="1 / 0"), "id": "mine0"}
    machine = await built(make, tmp_path, device=[device])
    told_by = machine.context.loop.get_exception_handler()

    await machine.close()

    assert (told_by is not None, machine.context.loop.get_exception_handler()) == (True, None)

    (line,) = lines(caplog)
    assert re.match(r"mine0: unrealize: ZeroDivisionError: division by zero, at .*:\d+ in unrealize$", line)


async def test_reset_that_raises_is_reported_and_the_machine_runs_again(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = {"plugin": plugin(tmp_path, reset="1 / 0"), "id": "mine0"}
    machine = await built(make, tmp_path, device=[device])
    machine.start()

    await machine.reset()

    assert machine.state is RunState.RUNNING
    assert re.match(r"mine0: reset: ZeroDivisionError: .*:\d+ in reset$", lines(caplog)[0])


async def test_handlers_that_raise_leave_the_guest_running(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    device = {"plugin": plugin(tmp_path, write="1 / 0", read="1 / 0"), "id": "mine0"}
    machine, client = await serve(device=[device])

    await client.write_value(PLATFORM_BUS, 4, 1)

    assert await client.read_value(PLATFORM_BUS, 4) == 0
    assert [re.sub(" at .* in ", " ", line) for line in lines(caplog)] == [
        "register handler of <Mine mine0>: ZeroDivisionError: division by zero, on_write",
        "register handler of <Mine mine0>: ZeroDivisionError: division by zero, on_read",
    ]
    assert machine.state is RunState.RUNNING
    assert not machine.exited.done()
