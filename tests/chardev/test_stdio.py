# SPDX-License-Identifier: GPL-2.0-or-later
"""stdio in this process, on a pty pair, pipes and files put in the place of standard input and output."""

from __future__ import annotations

import os
import socket
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from asyncemu.chardev import ChardevEvent, MuxCommand
from asyncemu.chardev.stdio import Stdio
from asyncemu.errors import ConfigError
from tests.chardev.conftest import MakeChardev
from tests.chardev.recorder import Recorder, read_exactly, read_until

UseFds = Callable[[int, int], None]


@pytest.fixture
def use_fds(monkeypatch: pytest.MonkeyPatch) -> UseFds:
    def use(standard_input: int, standard_output: int) -> None:
        monkeypatch.setattr(Stdio, "input_fd", standard_input)
        monkeypatch.setattr(Stdio, "output_fd", standard_output)

    return use


@pytest.fixture
def fds() -> Iterator[ExitStack]:
    """Closes what is registered with it at the end of the test."""
    with ExitStack() as stack:
        yield stack


def pipe(fds: ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for end in ends:
        fds.callback(os.close, end)
    return ends


@pytest.fixture
def terminal(fds: ExitStack, use_fds: UseFds) -> tuple[int, int]:
    """A terminal as standard input and output: the user's side, and ours."""
    user, ours = os.openpty()
    fds.callback(os.close, user)
    fds.callback(os.close, ours)
    use_fds(ours, ours)
    return user, ours


async def opened(make_chardev: MakeChardev, recorder: Recorder, **keys: object) -> Stdio:
    chardev: Stdio = make_chardev("stdio", **keys)
    chardev.attach(recorder)
    await chardev.open()
    return chardev


# ---- terminal


async def test_stdio_terminal_keys_arrive_unchanged(make_chardev: MakeChardev, terminal: tuple[int, int]) -> None:
    recorder = Recorder()
    await opened(make_chardev, recorder)

    os.write(terminal[0], b"a\x03\x04\r\x13")

    await recorder.until_received(b"a\x03\x04\r\x13")


async def test_stdio_terminal_close_restores_attributes(make_chardev: MakeChardev, terminal: tuple[int, int]) -> None:
    before = termios.tcgetattr(terminal[1])
    chardev = await opened(make_chardev, Recorder())
    while_open = termios.tcgetattr(terminal[1])

    await chardev.close()

    assert while_open != before
    assert termios.tcgetattr(terminal[1]) == before


async def test_stdio_terminal_shared_descriptor_stays_blocking(
    make_chardev: MakeChardev, terminal: tuple[int, int]
) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    os.write(terminal[0], b"x")
    await recorder.until_received(b"x")

    while_open = os.get_blocking(terminal[1])
    await chardev.close()

    assert (while_open, os.get_blocking(terminal[1])) == (True, True)


async def test_stdio_terminal_default_gives_ctrl_c_to_guest(
    make_chardev: MakeChardev, terminal: tuple[int, int]
) -> None:
    await opened(make_chardev, Recorder())

    assert not termios.tcgetattr(terminal[1])[3] & termios.ISIG


@pytest.mark.parametrize("keys", [{"signal": True}, {"mux": False}])
async def test_stdio_terminal_signal_keeps_ctrl_c(
    make_chardev: MakeChardev, terminal: tuple[int, int], keys: dict[str, bool]
) -> None:
    await opened(make_chardev, Recorder(), **keys)

    assert termios.tcgetattr(terminal[1])[3] & termios.ISIG


async def test_stdio_terminal_ctrl_a_x_asks_to_quit(make_chardev: MakeChardev, terminal: tuple[int, int]) -> None:
    recorder, commands = Recorder(), list[MuxCommand]()
    chardev = await opened(make_chardev, recorder)
    chardev.on_command = commands.append

    os.write(terminal[0], b"\x01x.")
    await recorder.until_received(b".")

    assert commands == [MuxCommand.QUIT]


async def test_stdio_terminal_ctrl_a_c_says_that_there_is_no_monitor(
    make_chardev: MakeChardev, terminal: tuple[int, int]
) -> None:
    await opened(make_chardev, Recorder())

    os.write(terminal[0], b"\x01c")

    assert b"no monitor here\r" in await read_until(terminal[0], b"here\r\r\n")


async def test_stdio_terminal_mux_off_passes_ctrl_a(make_chardev: MakeChardev, terminal: tuple[int, int]) -> None:
    recorder = Recorder()
    await opened(make_chardev, recorder, mux=False)

    os.write(terminal[0], b"\x01x")

    await recorder.until_received(b"\x01x")


async def test_stdio_terminal_slow_user_gets_everything(make_chardev: MakeChardev, terminal: tuple[int, int]) -> None:
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    sent = b"0123456789abcdef" * 16384

    taken = chardev.write(sent)
    received = await read_exactly(terminal[0], taken)
    await recorder.until(lambda: recorder.writable_calls == 1)

    assert taken < len(sent)
    assert received == sent[:taken]


async def test_stdio_second_chardev_is_refused(make_chardev: MakeChardev, terminal: tuple[int, int]) -> None:
    await opened(make_chardev, Recorder())
    attributes = termios.tcgetattr(terminal[1])

    with pytest.raises(ConfigError) as caught:
        await make_chardev("stdio").open()

    assert "belong to chardev 'console' already; give one" in str(caught.value)
    assert termios.tcgetattr(terminal[1]) == attributes


# ---- anything else


async def test_stdio_pipes_pass_bytes_and_ctrl_a(make_chardev: MakeChardev, fds: ExitStack, use_fds: UseFds) -> None:
    (ours_in, theirs_in), (theirs_out, ours_out) = pipe(fds), pipe(fds)
    use_fds(ours_in, ours_out)
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)

    os.write(theirs_in, b"in\x01x")
    await recorder.until_received(b"in\x01x")
    chardev.write(b"out\n")

    assert await read_exactly(theirs_out, 4) == b"out\n"


async def test_stdio_pipe_mux_obeys_ctrl_a(make_chardev: MakeChardev, fds: ExitStack, use_fds: UseFds) -> None:
    (ours_in, theirs_in), (_, ours_out) = pipe(fds), pipe(fds)
    use_fds(ours_in, ours_out)
    recorder = Recorder()
    await opened(make_chardev, recorder, mux=True)

    os.write(theirs_in, b"\x01b.")
    await recorder.until_received(b".")

    assert ChardevEvent.BREAK in recorder.events


async def test_stdio_pipe_end_of_input_leaves_output(
    make_chardev: MakeChardev, fds: ExitStack, use_fds: UseFds
) -> None:
    (ours_in, theirs_in), (theirs_out, ours_out) = os.pipe(), pipe(fds)
    fds.callback(os.close, ours_in)
    use_fds(ours_in, ours_out)
    recorder = Recorder()
    chardev = await opened(make_chardev, recorder)
    os.write(theirs_in, b"all")
    os.close(theirs_in)
    await recorder.until_received(b"all")

    chardev.accept_input()
    chardev.write(b"still here")

    assert await read_exactly(theirs_out, 10) == b"still here"


async def test_stdio_pipe_stays_blocking_for_others(make_chardev: MakeChardev, fds: ExitStack, use_fds: UseFds) -> None:
    (ours_in, _), (_, ours_out) = pipe(fds), pipe(fds)
    use_fds(ours_in, ours_out)

    await opened(make_chardev, Recorder())

    assert (os.get_blocking(ours_in), os.get_blocking(ours_out)) == (True, True)


async def test_stdio_dev_null_is_end_of_input_and_takes_output(
    make_chardev: MakeChardev, fds: ExitStack, use_fds: UseFds
) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    fds.callback(os.close, null)
    use_fds(null, null)
    recorder = Recorder()

    chardev = await opened(make_chardev, recorder)

    assert chardev.write(b"x" * 1_000_000) == 1_000_000
    assert recorder.events == [ChardevEvent.OPENED]


async def test_stdio_regular_files_keep_shared_offset(
    make_chardev: MakeChardev, fds: ExitStack, use_fds: UseFds, tmp_path: Path
) -> None:
    (tmp_path / "in").write_bytes(b"input")
    ours_in = os.open(tmp_path / "in", os.O_RDONLY)
    ours_out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    fds.callback(os.close, ours_in)
    fds.callback(os.close, ours_out)
    use_fds(ours_in, ours_out)
    recorder = Recorder()
    os.write(ours_out, b"before ")
    chardev = await opened(make_chardev, recorder)

    chardev.write(b"during ")
    os.write(ours_out, b"after")
    await recorder.until_received(b"input")

    assert (tmp_path / "out").read_bytes() == b"before during after"


async def test_stdio_socket_blocking_flag_is_restored(make_chardev: MakeChardev, use_fds: UseFds) -> None:
    theirs, ours = socket.socketpair()
    with theirs, ours:
        use_fds(ours.fileno(), ours.fileno())
        recorder = Recorder()
        chardev = await opened(make_chardev, recorder)
        theirs.sendall(b"in")
        await recorder.until_received(b"in")

        while_open = os.get_blocking(ours.fileno())
        await chardev.close()

        assert (while_open, os.get_blocking(ours.fileno())) == (False, True)


async def test_stdio_not_open_at_all_discards(make_chardev: MakeChardev, use_fds: UseFds) -> None:
    use_fds(1_000_000, 1_000_000)

    chardev = await opened(make_chardev, Recorder())

    assert chardev.write(b"lost") == 4


async def test_stdio_reader_gone_discards(
    make_chardev: MakeChardev, fds: ExitStack, use_fds: UseFds, caplog: pytest.LogCaptureFixture
) -> None:
    (ours_in, _), (theirs_out, ours_out) = pipe(fds), os.pipe()
    fds.callback(os.close, ours_out)
    use_fds(ours_in, ours_out)
    chardev = await opened(make_chardev, Recorder())
    os.close(theirs_out)

    taken = chardev.write(b"x" * 1_000_000)

    assert taken == 1_000_000
    assert [record.getMessage() for record in caplog.records] == [
        "console: write; further output is discarded: Broken pipe"
    ]
