# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands in Debian's dash, on a terminal that echoes."""

from __future__ import annotations

import asyncio
import re

import pytest

from asyncemu.api import CommandFailed, Console, ConsoleTimeout, Shell
from asyncemu.api.shell import PROMPT


async def test_run_output_and_status(shell_console: Console) -> None:
    result = await Shell(shell_console).run("echo a; echo b >&2; (exit 3)", check=False)

    assert (result.output, result.status) == ("a\nb", 3)


async def test_run_no_output_is_empty(shell_console: Console) -> None:
    assert (await Shell(shell_console).run("true")).output == ""


async def test_run_output_without_newline_is_whole(shell_console: Console) -> None:
    assert (await Shell(shell_console).run("printf x")).output == "x"


@pytest.mark.parametrize("command", ['echo "it\'s"', "echo 'it'\\''s'", "cat <<end\nit's\nend", '# no\necho "it\'s"'])
async def test_run_quotes_and_lines_reach_the_shell_as_they_are(shell_console: Console, command: str) -> None:
    assert (await Shell(shell_console).run(command)).output == "it's"


async def test_run_failure_is_an_error_with_the_last_line(shell_console: Console) -> None:
    with pytest.raises(CommandFailed, match=r"^'echo one; echo two; false' ended with status 1: two$") as failure:
        await Shell(shell_console).run("echo one; echo two; false")

    assert failure.value.result.output == "one\ntwo"


async def test_run_syntax_error_is_a_failure_and_the_next_command_works(shell_console: Console) -> None:
    shell = Shell(shell_console)

    result = await shell.run("echo )", check=False)

    assert result.status == 2
    assert (await shell.run("echo on")).output == "on"


async def test_run_several_at_once_take_turns(shell_console: Console) -> None:
    shell = Shell(shell_console)

    results = await asyncio.gather(*(shell.run(f"echo {number}") for number in range(5)))

    assert [result.output for result in results] == ["0", "1", "2", "3", "4"]


async def test_run_state_of_the_shell_stays(shell_console: Console) -> None:
    shell = Shell(shell_console)

    await shell.run("cd /; answer=42")

    assert (await shell.run('echo "$PWD $answer"')).output == "/ 42"


async def test_run_too_long_for_a_terminal_is_refused(shell_console: Console) -> None:
    with pytest.raises(ValueError, match="the command has 5000 characters; put it into a file in the guest"):
        await Shell(shell_console).run("x" * 5000)


async def test_run_as_long_as_a_terminal_takes_is_whole(shell_console: Console) -> None:
    shell = Shell(shell_console)

    result = await shell.run("echo " + "x" * 4000)

    assert len(result.output) == 4000


async def test_run_command_that_does_not_end_times_out(shell_console: Console) -> None:
    shell = Shell(shell_console)
    await shell.run("true")

    with pytest.raises(ConsoleTimeout):
        await shell.run("read forever", timeout=0)


async def test_run_lines_of_the_console_are_commands_too(shell_console: Console) -> None:
    shell = Shell(shell_console)
    await shell.run("answer=42")

    shell_console.send_line('echo "<$answer>"')

    assert await shell_console.expect("<42>")
    assert (await shell.run("echo on")).output == "on"


async def test_release_gives_the_prompt_back_and_the_next_command_works(shell_console: Console) -> None:
    shell = Shell(shell_console)
    await shell.run("true")

    await shell.release()
    await shell_console.expect("$ ")
    shell_console.send_line("echo '<'typed'>'")
    await shell_console.expect("<typed>")

    assert (await shell.run("echo on")).output == "on"


@pytest.mark.parametrize("prompt", ["# ", "user@host:~$ ", "guest:/mnt# \x1b[6n"])
def test_prompt_at_the_end_of_the_output_is_found(prompt: str) -> None:
    assert PROMPT.search(f"Linux #1 SMP\n{prompt}")


@pytest.mark.parametrize("output", ["Linux # 1", "# \n", "price: $5"])
def test_prompt_elsewhere_is_none(output: str) -> None:
    assert re.search(PROMPT, output) is None
