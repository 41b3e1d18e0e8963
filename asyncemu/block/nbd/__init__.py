# SPDX-License-Identifier: GPL-2.0-or-later
"""NBD, the network block device: a server for block nodes, and the ``nbd`` driver.

The protocol is in cores that do no I/O (``server_negotiation``, ``server_transmission``, ``client_negotiation``,
``client_transmission``, over ``options`` and ``messages``); what moves bytes is ``channel``.
Spec: the NBD project's doc/proto.md; measure: QEMU 7.2 (docs/interop/nbd.txt, qemu-nbd(8)).
"""
