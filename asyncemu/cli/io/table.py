# SPDX-License-Identifier: GPL-2.0-or-later
"""All commands, in the order in which ``help`` shows them."""

from __future__ import annotations

from typing import Final

from asyncemu.block.flags import PERM_RESIZE, PERM_WRITE
from asyncemu.cli.io import allocation, asynchronous, breakpoints, image, process, reading, reopening, writing
from asyncemu.cli.io.command import Command
from asyncemu.cli.io.help_texts import HELP

COMMANDS: Final = (
    Command("abort", process.abort, "simulate a program crash using abort(3)", of_image=False),
    Command("aio_flush", asynchronous.aio_flush, "completes all outstanding aio requests"),
    Command(
        "aio_read",
        asynchronous.aio_read,
        "asynchronously reads a number of bytes",
        "[-Ciqv] [-P pattern] off len [len..]",
        HELP["aio_read"],
        least=2,
        most=None,
    ),
    Command(
        "aio_write",
        asynchronous.aio_write,
        "asynchronously writes a number of bytes",
        "[-Cfiquz] [-P pattern] off len [len..]",
        HELP["aio_write"],
        least=2,
        most=None,
        permissions=PERM_WRITE,
    ),
    Command(
        "alloc",
        allocation.alloc,
        "checks if offset is allocated in the file",
        "offset [count]",
        alias="a",
        least=1,
        most=2,
    ),
    Command(
        "break",
        breakpoints.set_breakpoint,
        "sets a breakpoint on event and tags the stopped request as tag",
        "event tag",
        least=2,
        most=2,
    ),
    Command("close", image.close_image, "close the current open file", alias="c"),
    Command(
        "discard",
        allocation.discard,
        "discards a number of bytes at a specified offset",
        "[-Cq] off len",
        HELP["discard"],
        alias="d",
        least=2,
        most=None,
        permissions=PERM_WRITE,
    ),
    Command("flush", image.flush, "flush all in-core file state to disk", alias="f"),
    Command("help", process.tell, "help for one or all commands", "[command]", alias="?", most=1, of_image=False),
    Command("info", image.info, "prints information about the current file", alias="i"),
    Command("length", image.length, "gets the length of the current file", alias="l"),
    Command("map", allocation.show_map, "prints the allocated areas of a file", ""),
    Command(
        "open",
        image.open_image,
        "open the file specified by path",
        "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
        HELP["open"],
        alias="o",
        least=1,
        most=None,
        of_image=False,
    ),
    Command("quit", process.leave, "exit the program", alias="q", most=None, of_image=False),
    Command(
        "read",
        reading.read,
        "reads a number of bytes at a specified offset",
        "[-abCqv] [-P pattern [-s off] [-l len]] off len",
        HELP["read"],
        alias="r",
        least=2,
        most=None,
    ),
    Command(
        "readv",
        reading.readv,
        "reads a number of bytes at a specified offset",
        "[-Cqv] [-P pattern] off len [len..]",
        HELP["readv"],
        least=2,
        most=None,
    ),
    Command("remove_break", breakpoints.remove_breakpoint, "remove a breakpoint by tag", "tag", least=1, most=1),
    Command(
        "reopen",
        reopening.reopen,
        "reopens an image with new options",
        "[(-r|-w)] [-c cache] [-o options]",
        HELP["reopen"],
        most=None,
    ),
    Command("resume", breakpoints.resume, "resumes the request tagged as tag", "tag", least=1, most=1),
    Command(
        "sigraise", process.sigraise, "raises a signal", "signal", HELP["sigraise"], least=1, most=1, of_image=False
    ),
    Command("sleep", process.sleep, "waits for the given value in milliseconds", least=1, most=1, of_image=False),
    Command(
        "truncate",
        image.truncate,
        "truncates the current file at the given offset",
        "[-m prealloc_mode] off",
        least=1,
        most=3,
        permissions=PERM_WRITE | PERM_RESIZE,
    ),
    Command(
        "wait_break", breakpoints.wait_for_breakpoint, "waits for the suspension of a request", "tag", least=1, most=1
    ),
    Command(
        "write",
        writing.write,
        "writes a number of bytes at a specified offset",
        "[-bcCfnquz] [-P pattern | -s source_file] off len",
        HELP["write"],
        alias="w",
        least=2,
        most=None,
        permissions=PERM_WRITE,
    ),
    Command(
        "writev",
        writing.writev,
        "writes a number of bytes at a specified offset",
        "[-Cfq] [-P pattern] off len [len..]",
        HELP["writev"],
        least=2,
        most=None,
        permissions=PERM_WRITE,
    ),
)

_BY_NAME: Final = {
    **{command.alias: command for command in COMMANDS if command.alias},
    **{command.name: command for command in COMMANDS},
}


def find_command(name: str) -> Command | None:
    """By its name or its short one."""
    return _BY_NAME.get(name)
