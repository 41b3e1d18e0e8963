# SPDX-License-Identifier: GPL-2.0-or-later
"""Fuzzing of what a guest, a peer or a file can send: ``python -m fuzz list``, ``python -m fuzz run NAME``.

Each module of ``fuzz.targets`` is a target:

    fuzz_one(data)    takes in any bytes; raises nothing when all is well
    seeds()           inputs to begin with, which get far

What may be raised inside is named in the module's docstring. All else that comes out is a defect: an exception of
another class, a coroutine that never ends (driving.py), a call from the wrong thread, memory without a bound.
"""
