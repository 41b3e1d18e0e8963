# SPDX-License-Identifier: GPL-2.0-or-later
"""WebSocket's server side (RFC 6455), without I/O: ``handshake`` (HTTP), ``frames`` (wire), ``codec`` (connection).

Of our own and not a library's, as a front end must be able to stop a peer in the middle of a message: libraries hand
over whole messages, and buffer them for it.
"""

from asyncemu.chardev.websocket.codec import WebSocketCodec

__all__ = ["WebSocketCodec"]
