# SPDX-License-Identifier: GPL-2.0-or-later
"""``--object TYPE,id=NAME,key=value``: what images refer to by name. QEMU: user_creatable_add_opts.

Types are ``secret``, ``throttle-group``, ``tls-creds-x509``, ``authz-simple`` and ``authz-list``. What they mean is the
block layer's matter, or nbd's: here they are checked and kept, by type and id.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Final

from asyncemu.cli.tools.failure import ToolError
from asyncemu.errors import ConfigError

_BOOLEANS: Final = {
    "on": True,
    "yes": True,
    "true": True,
    "y": True,
    "off": False,
    "no": False,
    "false": False,
    "n": False,
}


class UserObject:
    """One of them. ``properties`` have QEMU's keys; values are text, int or bool."""

    __slots__ = ("data", "identity", "kind", "properties")

    def __init__(self, kind: str, identity: str, properties: Mapping[str, object]) -> None:
        self.kind = kind
        self.identity = identity
        self.properties = properties
        #: What a ``secret`` holds, once it has been read.
        self.data: bytes | None = None

    def text(self, key: str, default: str = "") -> str:
        """A property that is text."""
        value = self.properties.get(key, default)
        return value if isinstance(value, str) else default


class UserObjects:
    """Objects by id."""

    def __init__(self) -> None:
        self._objects: dict[str, UserObject] = {}

    def add(self, text: str) -> None:
        """Define what the argument of ``--object`` says, which may be JSON. ToolError."""
        table = _table(text)
        kind = _take(table, "qom-type")
        if kind not in _TYPES:
            if kind == "tls-creds-psk":
                # Python's ssl has learnt that in 3.13.
                raise ToolError("tls-creds-psk is not supported: use tls-creds-x509")
            problem = f"invalid object type: {kind}" if kind in _QEMUS_TYPES else _not_a_value("qom-type", kind)
            raise ToolError(problem)
        identity = _take(table, "id")
        if not _is_identifier(identity):
            raise ToolError(
                "Parameter 'id' expects an identifier",
                hint="Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.",
            )
        properties = {key: _checked(kind, key, value) for key, value in table.items()}
        if identity in self._objects:
            raise ToolError(f"attempt to add duplicate property '{identity}' to object (type 'container')")
        found = UserObject(kind, identity, properties)
        if kind == "secret":
            secret(found)  # it must be there when it is defined
        self._objects[identity] = found

    def find(self, kind: str, identity: str) -> UserObject | None:
        """The object of that type and name."""
        found = self._objects.get(identity)
        return found if found is not None and found.kind == kind else None

    def find_any(self, identity: str) -> UserObject | None:
        """The object of that name, whatever it is."""
        return self._objects.get(identity)

    def all(self, kind: str) -> list[UserObject]:
        """Those of one type, in the order of the command line."""
        return [each for each in self._objects.values() if each.kind == kind]


def object_help(text: str) -> bool:
    """Was ``--object`` asked for help? Then it has been printed: leave."""
    parts = text.split(",")
    if parts[0] in ("help", "?"):
        sys.stdout.write("List of user creatable objects:\n" + "".join(f"  {name}\n" for name in sorted(_TYPES)))
        return True
    if parts[0] in _TYPES and any(part in ("help", "?") for part in parts[1:]):
        rows = "".join(f"  {key}=<{_TYPE_NAMES[kind]}>\n" for key, kind in _TYPES[parts[0]].items())
        sys.stdout.write(f"{parts[0]} options:\n{rows}")
        return True
    return False


def secret(found: UserObject) -> bytes:
    """What a ``secret`` holds; its file, which may be a pipe, is read once. ToolError."""
    if found.data is None:
        found.data = _read_secret(found)
    return found.data


def _read_secret(found: UserObject) -> bytes:
    properties = found.properties
    if "keyid" in properties:
        raise ToolError("secrets that are encrypted with another one ('keyid') are not supported")
    from asyncemu.secret import read_secret

    try:
        return read_secret(
            found.text("data") if "data" in properties else None,
            found.text("file") if "file" in properties else None,
            found.text("format", "raw"),
        )
    except ConfigError as error:
        raise ToolError(error.problem) from error


# ---- properties


def _table(text: str) -> dict[str, object]:
    from asyncemu.block.naming.json_reader import JsonError, read_json
    from asyncemu.block.naming.keyval import parse_keyval

    try:
        table = read_json(text) if text.startswith("{") else parse_keyval(text, "qom-type")
    except JsonError as error:
        raise ToolError(str(error)) from error
    except ConfigError as error:
        raise ToolError(error.problem) from error
    assert isinstance(table, dict)  # as it begins with a brace
    return table


def _take(table: dict[str, object], key: str) -> str:
    value = table.pop(key, "")
    if not isinstance(value, str):
        raise ToolError(f"Invalid parameter type for '{key}', expected: string")
    if not value:
        raise ToolError(f"Parameter '{key}' is missing")
    return value


def _checked(kind: str, key: str, value: object) -> object:
    check = _TYPES[kind].get(key)
    if check is None:
        raise ToolError(f"Parameter '{key}' is unexpected")
    return check(key, value)


def _text(key: str, value: object) -> object:
    if not isinstance(value, str):
        raise ToolError(f"Invalid parameter type for '{key}', expected: string")
    return value


def _integer(key: str, value: object) -> object:
    try:
        number = value if isinstance(value, int) else int(str(value)[:40], 0)
    except ValueError:
        raise ToolError(f"Parameter '{key}' expects integer") from None
    if not -(1 << 63) <= number < 1 << 63:
        raise ToolError(f"Parameter '{key}' expects integer")
    return number


def _boolean(key: str, value: object) -> object:
    if isinstance(value, bool):
        return value
    if value not in _BOOLEANS:
        raise ToolError(f"Parameter '{key}' expects 'on' or 'off'")
    return _BOOLEANS[str(value)]


def _limits(key: str, value: object) -> object:
    if not isinstance(value, Mapping):
        raise ToolError(f"Invalid parameter type for '{key}', expected: object")
    for name in value:
        if f"x-{name}" not in _TYPES["throttle-group"]:
            raise ToolError(f"Parameter '{key}.{name}' is unexpected")
    return {name: _integer(f"{key}.{name}", number) for name, number in value.items()}


def _secret_format(key: str, value: object) -> object:
    return _one_of(key, value, ("raw", "base64"))


def _endpoint(key: str, value: object) -> object:
    return _one_of(key, value, ("client", "server"))


def _policy(key: str, value: object) -> object:
    return _one_of(key, value, ("deny", "allow"))


def _rules(key: str, value: object) -> object:
    if not isinstance(value, list):
        raise ToolError(f"Invalid parameter type for '{key}', expected: array")
    return value


def _one_of(key: str, value: object, values: tuple[str, ...]) -> object:
    if value not in values:
        raise ToolError(_not_a_value(key, value))
    return value


def _not_a_value(key: str, value: object) -> str:
    return f"Parameter '{key}' does not accept value '{value}'"


def _is_identifier(text: str) -> bool:
    if not text[0].isascii() or not text[0].isalpha():
        return False
    return all(each.isascii() and (each.isalnum() or each in "-._") for each in text)


_Check = Callable[[str, object], object]

_RATES: Final = [
    f"x-{unit}-{way}{suffix}"
    for unit in ("bps", "iops")
    for way in ("read", "total", "write")
    for suffix in ("-max-length", "-max", "")
]

_TYPES: Final[Mapping[str, Mapping[str, _Check]]] = {
    "authz-list": {"policy": _policy, "rules": _rules},
    "authz-simple": {"identity": _text},
    "secret": {"data": _text, "file": _text, "format": _secret_format, "iv": _text, "keyid": _text},
    "throttle-group": {
        "limits": _limits,
        **dict.fromkeys(sorted([*_RATES, "x-iops-size"], key=lambda key: key.replace("-size", "-s0")), _integer),
    },
    "tls-creds-x509": {
        "dir": _text,
        "endpoint": _endpoint,
        "passwordid": _text,
        "priority": _text,
        "sanity-check": _boolean,
        "verify-peer": _boolean,
    },
}

_TYPE_NAMES: Final[Mapping[_Check, str]] = {
    _text: "string",
    _integer: "int",
    _boolean: "bool",
    _limits: "ThrottleLimits",
    _policy: "QAuthZListPolicy",
    _rules: "QAuthZListRuleListHack",
    _secret_format: "QCryptoSecretFormat",
    _endpoint: "QCryptoTLSCredsEndpoint",
}

#: Types that qemu-img 7.2 knows the names of. None of them is something that an image refers to but these above.
_QEMUS_TYPES_TEXT: Final = """
    authz-list-file can-bus colo-compare cryptodev-backend dbus-vmstate filter-buffer filter-dump filter-mirror
    filter-redirector filter-replay filter-rewriter input-barrier input-linux iothread main-loop memory-backend-file
    memory-backend-memfd memory-backend-ram pr-manager-helper qtest rng-builtin rng-egd rng-random secret_keyring
    thread-context tls-cipher-suites tls-creds-anon tls-creds-psk x-remote-object
"""
_QEMUS_TYPES: Final = frozenset(_QEMUS_TYPES_TEXT.split())
