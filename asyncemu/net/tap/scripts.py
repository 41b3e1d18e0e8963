# SPDX-License-Identifier: GPL-2.0-or-later
"""What the user has run around the life of a tap device: a script with its name, or a helper that opens it for us.

Both without a shell. These functions wait for the program, and are for worker threads.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
from typing import Final

from asyncemu.errors import ConfigError

#: Seconds that a script or a helper may take, and then is killed. Arbitrary: bridges and firewalls take less than one.
TIMEOUT: Final = 60.0


def run_script(script: str, interface: str, netdev: str) -> None:
    """``script INTERFACE``, with our standard error. Raises ConfigError."""
    problem = f"network script {script}"
    try:
        status = subprocess.run([script, interface], stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False).returncode
    except OSError as error:
        raise ConfigError(netdev, f"{problem}: {error.strerror}", 'set it to "no" to run none') from error
    except subprocess.TimeoutExpired as error:
        raise ConfigError(netdev, f"{problem} was still running after {TIMEOUT:g} s") from error
    if status:
        raise ConfigError(netdev, f"{problem} failed with status {status}")


def open_by_helper(helper: str, bridge: str, want_header: bool, netdev: str) -> int:
    """A tap that is a port of ``bridge``, which the helper opens as it may and we may not. QEMU: qemu-bridge-helper.

    Raises ConfigError.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        fd = theirs.fileno()
        arguments = [helper, *(["--use-vnet"] if want_header else []), f"--fd={fd}", f"--br={bridge}"]
        try:
            process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, pass_fds=(fd,))
        except OSError as error:
            raise ConfigError(netdev, f"bridge helper {helper}: {error.strerror}") from error
        theirs.close()
        descriptors: list[int] = []
        try:
            if select.select([ours], [], [], TIMEOUT)[0]:
                _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
            status = process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            status = -1
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if status or not descriptors:
            for each in descriptors:
                os.close(each)
            raise ConfigError(netdev, f"bridge helper {helper} failed with status {status}")
        os.set_inheritable(descriptors[0], False)
        return descriptors[0]
