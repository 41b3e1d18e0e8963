# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules that are put off: in processes of their own, as this one has them all."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    """What ``code`` prints in a process that has put modules off."""
    start = (
        "from asyncemu.cli.tools.late_modules import complete_asyncio, put_off\n"
        "put_off()\n"
        "import asyncio, sys, threading\n"
        "complete_asyncio()\n"
    )
    found = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_modules_wait_until_they_are_used() -> None:
    code = (
        "before = {'_ssl', 'ast'} & set(sys.modules)\n"
        "import inspect, ssl\n"
        "untouched = {'_ssl', 'ast'} & set(sys.modules)\n"
        "print(before, untouched, inspect.isfunction(print), ssl.SSLContext.__name__, ssl is sys.modules['ssl'])\n"
        "from ssl import SSLError; print(SSLError is ssl.SSLError, type(ssl) is type(sys))\n"
        "print(asyncio.sslproto is sys.modules['asyncio.sslproto'], asyncio.sslproto.SSLProtocol.__name__)"
    )
    assert run(code).splitlines() == ["set() set() False SSLContext True", "True True", "True SSLProtocol"]


def test_several_threads_find_the_whole_module() -> None:
    code = (
        "import ssl\n"
        "gate = threading.Barrier(8)\n"
        "found = []\n"
        "def use():\n"
        "    gate.wait()\n"
        "    found.append(ssl.create_default_context)\n"
        "threads = [threading.Thread(target=use) for _ in range(8)]\n"
        "[each.start() for each in threads]; [each.join() for each in threads]\n"
        "print(len(found), len(set(found)))"
    )
    assert run(code) == "8 1"


def test_attribute_that_is_not_there_is_an_error() -> None:
    code = "import inspect\ntry:\n    inspect.nothing\nexcept AttributeError as error:\n    print(error)"
    assert run(code) == "module 'inspect' has no attribute 'nothing'"


def test_failed_import_is_tried_again() -> None:
    code = (
        "import ssl\n"
        "sys.modules['_ssl'] = None\n"
        "try:\n    ssl.SSLContext\nexcept ImportError:\n    print('failed')\n"
        "del sys.modules['_ssl']\n"
        "print(ssl.SSLContext.__name__)"
    )
    assert run(code).splitlines() == ["failed", "SSLContext"]
