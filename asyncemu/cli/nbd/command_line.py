# SPDX-License-Identifier: GPL-2.0-or-later
"""From the words of the command line to Settings. What is wrong with one option shows at its place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from asyncemu.cli.nbd.settings import Settings
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.getopt_long import NO_ARGUMENT, REQUIRED_ARGUMENT, BadOption, OptionScanner
from asyncemu.cli.tools.report import program

SHORT: Final = "hVb:o:p:rsnc:dvk:e:f:tl:x:T:D:AB:L"
#: In qemu-nbd's order, which shows when an abbreviation is ambiguous.
LONG: Final[Mapping[str, tuple[int, str]]] = {
    "help": (NO_ARGUMENT, "h"),
    "version": (NO_ARGUMENT, "V"),
    "bind": (REQUIRED_ARGUMENT, "b"),
    "port": (REQUIRED_ARGUMENT, "p"),
    "socket": (REQUIRED_ARGUMENT, "k"),
    "offset": (REQUIRED_ARGUMENT, "o"),
    "read-only": (NO_ARGUMENT, "r"),
    "allocation-depth": (NO_ARGUMENT, "A"),
    "bitmap": (REQUIRED_ARGUMENT, "B"),
    "connect": (REQUIRED_ARGUMENT, "c"),
    "disconnect": (NO_ARGUMENT, "d"),
    "list": (NO_ARGUMENT, "L"),
    "snapshot": (NO_ARGUMENT, "s"),
    "load-snapshot": (REQUIRED_ARGUMENT, "l"),
    "nocache": (NO_ARGUMENT, "n"),
    "cache": (REQUIRED_ARGUMENT, "cache"),
    "aio": (REQUIRED_ARGUMENT, "aio"),
    "discard": (REQUIRED_ARGUMENT, "discard"),
    "detect-zeroes": (REQUIRED_ARGUMENT, "detect-zeroes"),
    "shared": (REQUIRED_ARGUMENT, "e"),
    "format": (REQUIRED_ARGUMENT, "f"),
    "persistent": (NO_ARGUMENT, "t"),
    "verbose": (NO_ARGUMENT, "v"),
    "object": (REQUIRED_ARGUMENT, "object"),
    "export-name": (REQUIRED_ARGUMENT, "x"),
    "description": (REQUIRED_ARGUMENT, "D"),
    "tls-creds": (REQUIRED_ARGUMENT, "tls-creds"),
    "tls-hostname": (REQUIRED_ARGUMENT, "tls-hostname"),
    "tls-authz": (REQUIRED_ARGUMENT, "tls-authz"),
    "image-opts": (NO_ARGUMENT, "image-opts"),
    "trace": (REQUIRED_ARGUMENT, "T"),
    "fork": (NO_ARGUMENT, "fork"),
    "pid-file": (REQUIRED_ARGUMENT, "pid-file"),
    "selinux-label": (REQUIRED_ARGUMENT, "selinux-label"),
}

#: Bytes of a name or a description. QEMU: NBD_MAX_STRING_SIZE.
_MAX_STRING: Final = 4096

#: ``detect-zeroes`` of a block node.
_DETECT_ZEROES: Final = ("off", "on", "unmap")


class Stop(Exception):
    """Asked for help, or for a list of objects: nothing else is to be done."""


def parse(words: Sequence[str]) -> Settings:
    """Settings, which may contradict each other: ``check`` tells. Raises ToolError, Stop."""
    settings = Settings()
    scanner = OptionScanner(words, SHORT, LONG)
    try:
        for option, argument in scanner:
            _ACTIONS[option](settings, argument)
            if settings.help or settings.version:
                return settings
    except BadOption as error:
        raise ToolError(str(error), f"Try `{program()} --help' for more information.") from error
    settings.rest = scanner.rest
    return settings


def check(settings: Settings) -> None:
    """ToolError: that can't be had together."""
    if settings.list:
        if settings.rest:
            raise ToolError("List mode is incompatible with a file name")
        if settings.is_about_a_device():
            raise ToolError("List mode is incompatible with per-device settings")
        if settings.fork:
            raise ToolError("List mode is incompatible with forking")
    elif len(settings.rest) != 1:
        raise ToolError("Invalid number of arguments", hint=f"Try `{program()} --help' for more information.")


def check_tls(settings: Settings) -> None:
    """The same for what is about TLS, once it is known whether there are credentials."""
    if settings.tls_credentials is None:
        for name, value in (("authz", settings.tls_authorization), ("hostname", settings.tls_host_name)):
            if value is not None:
                raise ToolError(f"--tls-{name} is not permitted without --tls-creds")
        return
    if settings.device is not None:
        raise ToolError("TLS is not supported with a host device")
    if settings.tls_authorization is not None and settings.list:
        raise ToolError("TLS authorization is incompatible with export list")
    if settings.tls_host_name is not None and not settings.list:
        raise ToolError("TLS hostname is only supported with export list")


# ---- single options


def _flag(name: str) -> Callable[[Settings, str], None]:
    def action(settings: Settings, argument: str) -> None:
        setattr(settings, name, True)

    return action


def _text(name: str) -> Callable[[Settings, str], None]:
    def action(settings: Settings, argument: str) -> None:
        setattr(settings, name, argument)

    return action


def _name(name: str, what: str) -> Callable[[Settings, str], None]:
    def action(settings: Settings, argument: str) -> None:
        if len(argument.encode("utf-8", "surrogateescape")) > _MAX_STRING:
            raise ToolError(f"export {what} '{argument}' too long")
        setattr(settings, name, argument)

    return action


def _socket(settings: Settings, argument: str) -> None:
    if not argument.startswith("/"):
        raise ToolError("socket path must be absolute")
    settings.socket_path = argument


def _shared(settings: Settings, argument: str) -> None:
    number = _c_number(argument)
    if number is None or not 0 <= number < 1 << 31:
        raise ToolError(f"Invalid shared device number '{argument}'")
    settings.shared = number


def _offset(settings: Settings, argument: str) -> None:
    number = _c_number(argument)
    # As strtoull(3), it takes negative numbers.
    if number is None or not -(1 << 64) < number < 1 << 64:
        raise ToolError(f"Invalid offset '{argument}'")
    settings.offset = number % (1 << 64)


def _c_number(text: str) -> int | None:
    from asyncemu.cli.tools.numbers import c_number

    return c_number(text)


def _nocache(settings: Settings, argument: str) -> None:
    _cache(settings, "none")


def _cache(settings: Settings, argument: str) -> None:
    from asyncemu.cli.tools.cache_modes import CACHE_MODES

    if settings.cache is not None:
        raise ToolError("-n and --cache can only be specified once")
    if argument not in CACHE_MODES:
        raise ToolError(f"Invalid cache mode `{argument}'")
    settings.cache = CACHE_MODES[argument]


def _aio(settings: Settings, argument: str) -> None:
    from asyncemu.cli.tools.node_modes import AIO_MODES

    if settings.aio is not None:
        raise ToolError("--aio can only be specified once")
    if argument not in AIO_MODES:
        raise ToolError(f"Invalid aio mode '{argument}'")
    settings.aio = argument


def _discard(settings: Settings, argument: str) -> None:
    from asyncemu.cli.tools.node_modes import DISCARD_MODES

    if settings.discard is not None:
        raise ToolError("--discard can only be specified once")
    if argument not in DISCARD_MODES:
        raise ToolError(f"Invalid discard mode `{argument}'")
    settings.discard = DISCARD_MODES[argument]


def _detect_zeroes(settings: Settings, argument: str) -> None:
    if argument not in _DETECT_ZEROES:
        raise ToolError(f"Failed to parse detect_zeroes mode: invalid parameter value: {argument}")
    if argument == "unmap" and settings.discard != "unmap":
        raise ToolError("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
    settings.detect_zeroes = argument


def _load_snapshot(settings: Settings, argument: str) -> None:
    settings.read_only = True
    if not argument.startswith("snapshot."):
        settings.load_snapshot = argument
        return
    from asyncemu.cli.tools.option_strings import BadOptions, split_options, warn_of_short_forms

    failed = f"Failed in parsing snapshot param `{argument}'"
    try:
        warn_of_short_forms(argument)
    except BadOptions as error:
        raise ToolError(*error.messages, failed) from error
    found = {"snapshot.id": "", "snapshot.name": ""}
    for key, value in split_options(argument):
        if key not in found:
            raise ToolError(f"Invalid parameter '{key}'", failed)
        found[key] = value
    settings.load_snapshot = found["snapshot.id"], found["snapshot.name"]


def _bitmap(settings: Settings, argument: str) -> None:
    settings.bitmaps.append(argument)


def _object(settings: Settings, argument: str) -> None:
    from asyncemu.cli.tools.objects import object_help

    if object_help(argument):
        raise Stop
    settings.objects.add(argument)


def _nothing(settings: Settings, argument: str) -> None:
    """``--trace``: trace events of QEMU's, which ours are not. A script that sets them goes on."""


_ACTIONS: Final[Mapping[str, Callable[[Settings, str], None]]] = {
    "h": _flag("help"),
    "V": _flag("version"),
    "p": _text("port"),
    "b": _text("interface"),
    "k": _socket,
    "e": _shared,
    "t": _flag("persistent"),
    "v": _flag("verbose"),
    "x": _name("export_name", "name"),
    "D": _name("description", "description"),
    "o": _offset,
    "A": _flag("allocation_depth"),
    "B": _bitmap,
    "L": _flag("list"),
    "object": _object,
    "tls-creds": _text("tls_credentials"),
    "tls-authz": _text("tls_authorization"),
    "tls-hostname": _text("tls_host_name"),
    "T": _nothing,
    "fork": _flag("fork"),
    "pid-file": _text("pid_file"),
    "selinux-label": _text("selinux_label"),
    "c": _text("device"),
    "d": _flag("disconnect"),
    "f": _text("format"),
    "r": _flag("read_only"),
    "s": _flag("snapshot"),
    "l": _load_snapshot,
    "n": _nocache,
    "cache": _cache,
    "aio": _aio,
    "discard": _discard,
    "detect-zeroes": _detect_zeroes,
    "image-opts": _flag("image_opts"),
}
