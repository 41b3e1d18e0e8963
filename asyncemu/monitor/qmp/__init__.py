# SPDX-License-Identifier: GPL-2.0-or-later
"""QMP, QEMU's machine protocol: JSON over a chardev, one of the two things that a monitor speaks.

    json_reader, json_parser    bytes to JSON values
    session                     greeting, negotiation, requests, replies
    event_throttle              which events go out, and when
    monitor                     a session on a chardev, in the monitors' thread
    dispatcher                  the commands of all monitors, one after the other, in the main loop
Cores do no I/O; docs/control.md has the picture.
"""
