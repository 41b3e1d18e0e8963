# SPDX-License-Identifier: GPL-2.0-or-later
"""Modules that are put off: in processes of their own, as this one has them all."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    """What ``code`` prints in a process that has put modules off."""
    start = "from asyncemu.cli.tools.late_modules import put_off\nput_off()\nimport asyncio, sys, threading\n"
    found = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def test_modules_wait_until_they_are_used() -> None:
    code = (
        "before = {'_ssl', 'ast', 'tokenize', '_posixsubprocess'} & set(sys.modules)\n"
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


def test_parts_of_asyncio_are_found_in_it() -> None:
    code = (
        "names = ('queues', 'runners', 'streams', 'subprocess', 'taskgroups', 'threads', 'timeouts')\n"
        "print([name for name in names if type(sys.modules[f'asyncio.{name}']) is type(sys)])\n"
        "print(asyncio.timeout.__module__, asyncio.Queue is asyncio.queues.Queue, hasattr(asyncio, 'nothing'))\n"
        "from asyncio import to_thread, TaskGroup\n"
        "print(asyncio.run(to_thread(len, 'four')))"
    )
    assert run(code).splitlines() == ["[]", "asyncio.timeouts True False", "4"]


def test_processes_are_run_by_asyncio_and_without() -> None:
    code = (
        "import subprocess\n"
        "print(subprocess.run(['echo', 'one'], stdout=subprocess.PIPE, text=True).stdout.strip())\n"
        "async def main():\n"
        "    process = await asyncio.create_subprocess_exec('echo', 'two', stdout=subprocess.PIPE)\n"
        "    print((await process.communicate())[0])\n"
        "asyncio.run(main())\n"
        "print(asyncio.subprocess.PIPE, subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL)"
    )
    assert run(code).splitlines() == ["one", "b'two\\n'", "-1 -1 -2 -3"]


def test_values_that_are_there_early_are_those_of_the_module() -> None:
    code = (
        "import subprocess\n"
        "early = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL\n"
        "subprocess.Popen\n"
        "print(early == (subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL), subprocess.__spec__.loader)"
    )
    printed = run(code)
    assert printed.startswith("True ")
    assert "late_modules" not in printed


def test_traceback_of_an_error_is_whole() -> None:
    code = (
        "import logging\n"
        "logging.basicConfig(stream=sys.stdout, format='%(message)s')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.exception('said')"
    )
    lines = run(code).splitlines()
    assert lines[:2] == ["said", "Traceback (most recent call last):"]
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_logging_waits_until_something_is_logged() -> None:
    code = (
        "asyncio.new_event_loop().close()\n"
        "from asyncio.log import logger\n"
        "before = 'string' in sys.modules\n"
        "logger.warning('told')\n"
        "import logging\n"
        "print(before, 'string' in sys.modules, type(logging.getLogger('asyncio')).__name__, logger.name)"
    )
    assert run(code) == "False True Logger asyncio"


def test_logger_of_before_obeys_levels_that_are_set_later() -> None:
    code = (
        "from asyncio.log import logger\n"
        "logger.debug('nobody hears it')\n"
        "import logging\n"
        "logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)\n"
        "logger.debug('told')"
    )
    assert run(code) == "DEBUG:asyncio:told"


def test_futures_of_threads_are_found() -> None:
    code = (
        "import concurrent.futures\n"
        "from concurrent.futures.thread import ThreadPoolExecutor\n"
        "with concurrent.futures.ThreadPoolExecutor(1) as pool:\n"
        "    print(pool.submit(pow, 2, 3).result(), ThreadPoolExecutor is concurrent.futures.ThreadPoolExecutor)\n"
        "print(asyncio.FIRST_COMPLETED is concurrent.futures.FIRST_COMPLETED)"
    )
    assert run(code).splitlines() == ["8 True", "True"]


def test_when_run_calls_once_when_the_code_has_been_run() -> None:
    code = (
        "from asyncemu.cli.tools.late_modules import when_run\n"
        "when_run('logging', lambda: print('run'))\n"
        "print('before')\n"
        "import logging; logging.INFO; logging.ERROR\n"
        "when_run('logging', lambda: print('at once'))"
    )
    assert run(code).splitlines() == ["before", "run", "at once"]
