# SPDX-License-Identifier: GPL-2.0-or-later
"""Freed clusters wait for the disk and for requests in flight."""

from __future__ import annotations

from asyncemu.block.qcow2.freed import DISCARD_OTHER, DISCARD_REQUEST, FreedClusters, RequestEpochs


def shown(freed: FreedClusters) -> list[tuple[int, int]]:
    return [(each.first, each.count) for each in freed.take_usable()]


def test_freed_before_a_flush_is_not_usable() -> None:
    freed = FreedClusters(RequestEpochs())
    freed.add(5, 2, DISCARD_REQUEST)

    assert shown(freed) == []
    assert freed.any_fresh


def test_freed_behind_a_flush_is_usable_when_nothing_is_in_flight() -> None:
    freed = FreedClusters(RequestEpochs())
    freed.add(5, 2, DISCARD_REQUEST)
    freed.now_stable(freed.take_fresh())

    assert shown(freed) == [(5, 2)]
    assert not freed.any_stable


def test_freed_waits_for_a_request_that_began_before() -> None:
    epochs = RequestEpochs()
    freed = FreedClusters(epochs)
    epoch = epochs.current
    epochs.running[epoch] += 1
    freed.add(5, 2, DISCARD_REQUEST)
    freed.now_stable(freed.take_fresh())

    before = shown(freed)
    epochs.running[epoch] -= 1

    assert before == []
    assert shown(freed) == [(5, 2)]


def test_freed_does_not_wait_for_requests_that_began_later() -> None:
    epochs = RequestEpochs()
    freed = FreedClusters(epochs)
    old = epochs.current
    epochs.running[old] += 1
    freed.add(5, 2, DISCARD_REQUEST)
    freed.now_stable(freed.take_fresh())
    shown(freed)
    new = epochs.current
    epochs.running[new] += 1
    epochs.running[old] -= 1

    assert new != old
    assert shown(freed) == [(5, 2)]


def test_freed_neighbours_of_one_reason_are_one_range() -> None:
    freed = FreedClusters(RequestEpochs())
    freed.add(5, 2, DISCARD_REQUEST)
    freed.add(7, 1, DISCARD_REQUEST)
    freed.add(8, 1, DISCARD_OTHER)

    assert freed.fresh_clusters == 4
    assert [(each.first, each.count) for each in freed.take_fresh()] == [(5, 3), (8, 1)]


def test_freed_put_back_counts_as_fresh_again() -> None:
    freed = FreedClusters(RequestEpochs())
    freed.add(5, 2, DISCARD_REQUEST)
    taken = freed.take_fresh()
    freed.add(9, 1, DISCARD_REQUEST)
    freed.put_back(taken)

    assert freed.fresh_clusters == 3
    assert [each.first for each in freed.take_fresh()] == [5, 9]
