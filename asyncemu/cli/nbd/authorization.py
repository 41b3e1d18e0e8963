# SPDX-License-Identifier: GPL-2.0-or-later
"""``--tls-authz``: which of the clients with a good certificate may come. QEMU: authz/simple.c, authz/list.c.

A client is known by the distinguished name in its certificate, as RFC 4514 writes it, but in the certificate's order:
``C=GB,O=Example,CN=laptop.example.com``. An object decides:

    authz-simple,id=ID,identity=NAME                                  this one
    authz-list,id=ID,policy=deny,rules.0.match=CN=lap*,rules.0.policy=allow,rules.0.format=glob
                                                                      the first rule that fits, or else the policy
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asyncemu.block.nbd.tls import X509Credentials
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.objects import UserObject, UserObjects

if TYPE_CHECKING:
    import ssl

#: May who has this distinguished name come? OSError: nobody can tell.
Authorization = Callable[[str], bool]

#: From OpenSSL's names of attributes to those of RFC 4514, section 3, and of GnuTLS beyond it.
_ATTRIBUTES: Final = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
    "emailAddress": "EMAIL",
}

#: RFC 4514, section 2.4: characters that stand for themselves behind a backslash only.
_special: Final = re.compile(r'([,+"\\<>;])')


class AuthorizingCredentials(X509Credentials):
    """A server's, with a look at who has come once the certificate is known to be good."""

    def __init__(self, directory: str, authorization: Authorization) -> None:
        super().__init__(directory, "server")
        self._context.sslobject_class = _authorizing(authorization)


def _authorizing(authorization: Authorization) -> type[ssl.SSLObject]:
    import ssl

    class Authorizing(ssl.SSLObject):
        """Ends the handshake with an OSError when the client may not come."""

        def do_handshake(self) -> None:
            super().do_handshake()
            certificate: dict[str, Any] = dict(self.getpeercert() or {})
            name = distinguished_name(certificate.get("subject", ()))
            if not authorization(name):
                raise PermissionError(errno.EACCES, f"TLS x509 authz check for {name} is denied")

    return Authorizing


def distinguished_name(subject: Iterable[Iterable[tuple[str, str]]]) -> str:
    """The text of the ``subject`` of ssl's getpeercert: a sequence of sets of attributes."""
    return ",".join(
        "+".join(f"{_ATTRIBUTES.get(name, name)}={_escaped(value)}" for name, value in attributes)
        for attributes in subject
    )


def _escaped(value: str) -> str:
    text = _special.sub(r"\\\1", value)
    if text.startswith(("#", " ")):
        text = "\\" + text
    if len(text) > 1 and text.endswith(" "):
        text = text[:-1] + "\\ "
    return text


def find_authorization(objects: UserObjects, identity: str) -> Authorization:
    """What the object of that id decides. As in qemu-nbd, a client that comes shows that there is none."""
    found = objects.find_any(identity)
    if found is None:
        return _failing(f"Cannot find QAuthZ object ID {identity}")
    if found.kind == "authz-simple":
        wanted = found.text("identity")
        return lambda name: name == wanted
    if found.kind == "authz-list":
        return _List(found)
    return _failing(f"Object '{identity}' is not a QAuthZ subclass")


def _failing(problem: str) -> Authorization:
    def fail(name: str) -> bool:
        raise OSError(errno.EINVAL, problem)

    return fail


class _Rule(NamedTuple):
    match: str
    allow: bool
    glob: bool


class _List:
    """An ``authz-list``. ToolError: its rules are none."""

    def __init__(self, found: UserObject) -> None:
        self._allow = found.text("policy", "deny") == "allow"
        rules = found.properties.get("rules", ())
        assert isinstance(rules, (list, tuple))
        self._rules = [_rule(index, table) for index, table in enumerate(rules)]

    def __call__(self, name: str) -> bool:
        from fnmatch import fnmatchcase

        for rule in self._rules:
            if fnmatchcase(name, rule.match) if rule.glob else name == rule.match:
                return rule.allow
        return self._allow


def _rule(index: int, table: object) -> _Rule:
    if not isinstance(table, Mapping):
        raise ToolError(f"Invalid parameter type for 'rules.{index}', expected: object")
    for key in table:
        if key not in ("match", "policy", "format"):
            raise ToolError(f"Parameter 'rules.{index}.{key}' is unexpected")
    values = {}
    for key, allowed, default in (
        ("match", None, None),
        ("policy", ("deny", "allow"), None),
        ("format", ("exact", "glob"), "exact"),
    ):
        value = table.get(key, default)
        if value is None:
            raise ToolError(f"Parameter 'rules.{index}.{key}' is missing")
        if not isinstance(value, str) or (allowed is not None and value not in allowed):
            raise ToolError(f"Parameter 'rules.{index}.{key}' does not accept value '{value}'")
        values[key] = value
    return _Rule(values["match"], values["policy"] == "allow", values["format"] == "glob")
