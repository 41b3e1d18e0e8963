# SPDX-License-Identifier: GPL-2.0-or-later
"""NetQueue: frames that wait for a full peer."""

from __future__ import annotations

from asyncemu.net import Frame, Frames, NetQueue


class Peer:
    """Takes as many frames as there is room for."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.taken: list[bytes] = []

    def send(self, frames: Frames) -> int:
        count = min(self.room, len(frames))
        self.room -= count
        self.taken += [frame.tobytes() for frame in frames[:count]]
        return count


def test_send_to_who_takes_it_queues_nothing() -> None:
    peer = Peer()
    queue = NetQueue(peer.send)

    assert queue.send(Frame.of(b"a"))

    assert peer.taken == [b"a"]
    assert not len(queue)


def test_frame_that_waits_is_a_copy_and_goes_out_in_order() -> None:
    peer = Peer(room=0)
    queue = NetQueue(peer.send)
    memory = bytearray(b"a")
    queue.send(Frame.of(memory))
    queue.send(Frame.of(b"b"))
    memory[:] = b"x"
    peer.room = 10

    queue.send(Frame.of(b"c"))
    assert peer.taken == []  # not in front of those that wait
    assert queue.flush()

    assert peer.taken == [b"a", b"b", b"c"]


def test_flush_stops_at_a_full_peer() -> None:
    peer = Peer(room=0)
    queue = NetQueue(peer.send)
    for data in (b"a", b"b"):
        queue.send(Frame.of(data))
    peer.room = 1

    assert not queue.flush()

    assert peer.taken == [b"a"]
    assert len(queue) == 1


def test_too_many_frames_are_dropped_and_counted() -> None:
    queue = NetQueue(Peer(room=0).send, max_frames=2)

    assert [queue.send(Frame.of(b"a")) for _ in range(3)] == [True, True, False]
    assert queue.dropped == 1


def test_too_many_bytes_are_dropped_and_counted() -> None:
    queue = NetQueue(Peer(room=0).send, max_bytes=150)

    assert [queue.send(Frame.of(bytes(100))) for _ in range(2)] == [True, False]
    assert queue.dropped == 1


def test_room_that_became_free_is_used_again() -> None:
    peer = Peer(room=0)
    queue = NetQueue(peer.send, max_bytes=100)
    queue.send(Frame.of(bytes(100)))
    peer.room = 1
    queue.flush()
    peer.room = 0

    assert queue.send(Frame.of(bytes(100)))


def test_clear_forgets_what_waits() -> None:
    peer = Peer(room=0)
    queue = NetQueue(peer.send)
    queue.send(Frame.of(b"a"))

    queue.clear()
    peer.room = 10

    assert queue.flush()
    assert peer.taken == []


def test_send_while_flushing_waits_for_its_turn() -> None:
    peer = Peer(room=0)

    def send(frames: Frames) -> int:
        if peer.room == 10:
            peer.room = 9
            queue.send(Frame.of(b"from within"))
        return peer.send(frames)

    queue = NetQueue(send)
    queue.send(Frame.of(b"a"))
    peer.room = 10

    queue.flush()

    assert peer.taken == [b"a", b"from within"]
