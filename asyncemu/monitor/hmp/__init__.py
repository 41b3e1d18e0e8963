# SPDX-License-Identifier: GPL-2.0-or-later
"""The human monitor, HMP: command lines for people, with QEMU's commands and output.

    readline.py     the line editor             scanner.py, expression.py, arguments.py   reading a line
    monitor.py      a chardev's front end       table.py, commands/                       what there is
    lazy.py         the same, made when needed  session.py, completion.py                 running a line, and Tab

What QMP can do is done by QMP's commands; here it becomes text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncemu.monitor.control import Control


async def execute(control: Control, line: str, cpu_index: int | None = None) -> str:
    """Run one command line; what it prints. At the control's home. QMP: human-monitor-command.

    Raises QmpError when there is no such vCPU; all else that is wrong is in the text.
    """
    from asyncemu.monitor.errors import QmpError
    from asyncemu.monitor.hmp.session import Session

    session = Session(control)
    if cpu_index is not None:
        if not 0 <= cpu_index < len(control.machine.vcpus):
            raise QmpError("Parameter 'cpu-index' expects a CPU number")
        session.cpu_index = cpu_index
    return await session.run(line)
