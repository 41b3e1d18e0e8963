# SPDX-License-Identifier: GPL-2.0-or-later
"""How a running guest is stopped so that no instruction runs twice.

As Unicorn comes, it looks for a stop request also after each memory access, and then sets PC back to the instruction
that has just been executed, which therefore runs again: a lost update in the guest, now and then. Three ways out, tried
in this order:

EXIT_CHECKS_OFF   The private field ``no_exit_request`` makes the translator leave that look out; the one at the start
                  of each block stays, where nothing is half done. Costs nothing. One byte of a private struct: used
                  only when the release is the known one, the bytes around it are as expected, and ``self_test`` passes.
BLOCK_HOOK        A native callback at the start of each block stops when a flag is set. Needs _native.c; costs up to
                  45 % of a boot's time.
SLICES            Run a bounded number of instructions at a time and look between the slices. Slow, exact, portable.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import mmap
import struct
import threading
from typing import Any, Final

import unicorn
from unicorn import riscv_const, unicorn_const

from asyncemu.vcpu.tcg import native
from asyncemu.vcpu.tcg.unicorn_library import KNOWN_VERSION, emu_start, emu_stop

#: struct uc_struct of the 2.1.4 wheel for x86-64: first_tb, no_exit_request, init_done are adjacent bools.
_FIRST_TB: Final = 2033
_NO_EXIT_REQUEST: Final = 2034
_INIT_DONE: Final = 2035
#: What the four bytes from 2032 on hold once the engine has been used; the second one is first_tb, which varies.
_EXPECTED: Final = (0, None, 0, 1)

#: Instructions a slice: long enough to amortise entering (about 5 µs), short enough for a timer tick of 1 ms.
SLICE_INSTRUCTIONS: Final = 20_000

#: Stops in the self-test. A Unicorn with the fault shows about 0.7 repeated instructions a stop, so 20 clean ones don't
#: happen by chance; they take about 5 ms.
_SELF_TEST_STOPS: Final = 20


class StopMethod(enum.Enum):
    """See the module's head."""

    EXIT_CHECKS_OFF = "exit-checks-off"
    BLOCK_HOOK = "block-hook"
    SLICES = "slices"


@functools.cache
def best_method() -> StopMethod:
    """The first method that works here; found out once per process."""
    if unicorn.__version__ == KNOWN_VERSION and self_test():
        return StopMethod.EXIT_CHECKS_OFF
    if native.load() is not None:
        return StopMethod.BLOCK_HOOK
    return StopMethod.SLICES


def switch_exit_checks_off(handle: int) -> bool:
    """Set ``no_exit_request``; False, and nothing done, when the struct does not look as expected.

    Call it after the first call to the engine, which initializes it (mapping memory, say), and before it runs: what has
    been translated before keeps its checks.
    """
    window = (ctypes.c_ubyte * 4).from_address(handle + _FIRST_TB - 1)
    if any(expected is not None and byte != expected for byte, expected in zip(window, _EXPECTED, strict=True)):
        return False
    window[_NO_EXIT_REQUEST - (_FIRST_TB - 1)] = 1
    return True


def self_test() -> bool:
    """Stop a loop of atomic increments many times from another thread; True when none ran twice.

    ``amoadd.d x0, x5, (x10)`` counts in memory, ``addi x6, x6, 1`` in a register: they must agree at each stop.
    """
    engine = unicorn.Uc(unicorn_const.UC_ARCH_RISCV, unicorn_const.UC_MODE_RISCV64)
    handle = engine_handle(engine)
    memory = mmap.mmap(-1, 8192)
    engine.mem_map_ptr(0, 8192, unicorn_const.UC_PROT_ALL, ctypes.addressof(ctypes.c_char.from_buffer(memory)))
    if not switch_exit_checks_off(handle):
        return False
    memory[:12] = struct.pack("<III", 0x0055302F, 0x00130313, 0xFF9FF06F)
    engine.reg_write(riscv_const.UC_RISCV_REG_X10, 4096)
    engine.reg_write(riscv_const.UC_RISCV_REG_X5, 1)
    engine.reg_write(riscv_const.UC_RISCV_REG_PC, 0)
    engine.ctl_exits_enabled(True)
    ended = threading.Event()
    asked = threading.Semaphore(0)

    def stop_repeatedly() -> None:
        while True:
            asked.acquire()
            while not ended.wait(0.0001):
                emu_stop(handle)
            if finished:
                return

    finished = False
    stopper = threading.Thread(target=stop_repeatedly, name="unicorn-self-test", daemon=True)
    stopper.start()
    exact = True
    for _ in range(_SELF_TEST_STOPS):
        ended.clear()
        asked.release()
        emu_start(handle, engine.reg_read(riscv_const.UC_RISCV_REG_PC), 0, 0, 0)
        ended.set()
        counted = int.from_bytes(memory[4096:4104], "little")
        exact = exact and counted == engine.reg_read(riscv_const.UC_RISCV_REG_X6)
    finished = True
    asked.release()
    stopper.join()
    return exact and counted > 0


def engine_handle(engine: Any) -> int:
    """The address of ``struct uc_struct`` behind a ``unicorn.Uc``."""
    handle = engine._uch
    value = getattr(handle, "value", handle)
    assert isinstance(value, int)
    return value
