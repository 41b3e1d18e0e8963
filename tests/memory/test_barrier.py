# SPDX-License-Identifier: GPL-2.0-or-later
"""full_barrier: any thread may cross it, and nobody keeps it closed."""

from __future__ import annotations

import threading

from asyncemu.memory import full_barrier


def test_full_barrier_from_many_threads_lets_all_pass() -> None:
    passed: list[int] = []

    def cross(index: int) -> None:
        for _ in range(200):
            full_barrier()
        passed.append(index)

    threads = [threading.Thread(target=cross, args=(index,), daemon=True) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(passed) == [0, 1, 2, 3]
