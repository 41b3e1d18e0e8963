# SPDX-License-Identifier: GPL-2.0-or-later
"""The ``user`` network: a router with its services, and connections of the guest that end in sockets of the host."""
