# SPDX-License-Identifier: GPL-2.0-or-later
"""The numbers of the NBD protocol, under the spec's names less their ``NBD_``. Spec: proto.md, "Values".

Plain integers, as they are compared on the path of every request.
"""

from __future__ import annotations

from typing import Final

# ---- magic numbers

#: "NBDMAGIC": how a server begins.
INIT_PASSWD: Final = 0x4E42444D41474943
#: "IHAVEOPT": newstyle follows, and each option request begins so.
OPTS_MAGIC: Final = 0x49484156454F5054
#: Oldstyle follows.
CLISERV_MAGIC: Final = 0x00420281861253
REP_MAGIC: Final = 0x0003E889045565A9
REQUEST_MAGIC: Final = 0x25609513
SIMPLE_REPLY_MAGIC: Final = 0x67446698
STRUCTURED_REPLY_MAGIC: Final = 0x668E33EF

# ---- handshake flags, and client flags with the same bits

FLAG_FIXED_NEWSTYLE: Final = 1 << 0
FLAG_NO_ZEROES: Final = 1 << 1

# ---- transmission flags

FLAG_HAS_FLAGS: Final = 1 << 0
FLAG_READ_ONLY: Final = 1 << 1
FLAG_SEND_FLUSH: Final = 1 << 2
FLAG_SEND_FUA: Final = 1 << 3
FLAG_ROTATIONAL: Final = 1 << 4
FLAG_SEND_TRIM: Final = 1 << 5
FLAG_SEND_WRITE_ZEROES: Final = 1 << 6
FLAG_SEND_DF: Final = 1 << 7
FLAG_CAN_MULTI_CONN: Final = 1 << 8
FLAG_SEND_RESIZE: Final = 1 << 9
FLAG_SEND_CACHE: Final = 1 << 10
FLAG_SEND_FAST_ZERO: Final = 1 << 11

# ---- option types

OPT_EXPORT_NAME: Final = 1
OPT_ABORT: Final = 2
OPT_LIST: Final = 3
OPT_STARTTLS: Final = 5
OPT_INFO: Final = 6
OPT_GO: Final = 7
OPT_STRUCTURED_REPLY: Final = 8
OPT_LIST_META_CONTEXT: Final = 9
OPT_SET_META_CONTEXT: Final = 10

#: As QEMU writes them in messages.
OPTION_NAMES: Final = {
    OPT_EXPORT_NAME: "export name",
    OPT_ABORT: "abort",
    OPT_LIST: "list",
    OPT_STARTTLS: "starttls",
    OPT_INFO: "info",
    OPT_GO: "go",
    OPT_STRUCTURED_REPLY: "structured reply",
    OPT_LIST_META_CONTEXT: "list meta context",
    OPT_SET_META_CONTEXT: "set meta context",
}

# ---- option reply types

REP_ACK: Final = 1
REP_SERVER: Final = 2
REP_INFO: Final = 3
REP_META_CONTEXT: Final = 4

#: Set in all error replies.
REP_FLAG_ERROR: Final = 1 << 31
REP_ERR_UNSUP: Final = REP_FLAG_ERROR + 1
REP_ERR_POLICY: Final = REP_FLAG_ERROR + 2
REP_ERR_INVALID: Final = REP_FLAG_ERROR + 3
REP_ERR_PLATFORM: Final = REP_FLAG_ERROR + 4
REP_ERR_TLS_REQD: Final = REP_FLAG_ERROR + 5
REP_ERR_UNKNOWN: Final = REP_FLAG_ERROR + 6
REP_ERR_SHUTDOWN: Final = REP_FLAG_ERROR + 7
REP_ERR_BLOCK_SIZE_REQD: Final = REP_FLAG_ERROR + 8
REP_ERR_TOO_BIG: Final = REP_FLAG_ERROR + 9

REPLY_NAMES: Final = {
    REP_ACK: "ack",
    REP_SERVER: "server",
    REP_INFO: "info",
    REP_META_CONTEXT: "meta context",
    REP_ERR_UNSUP: "unsupported",
    REP_ERR_POLICY: "denied by policy",
    REP_ERR_INVALID: "invalid",
    REP_ERR_PLATFORM: "platform lacks support",
    REP_ERR_TLS_REQD: "TLS required",
    REP_ERR_UNKNOWN: "export unknown",
    REP_ERR_SHUTDOWN: "server shutting down",
    REP_ERR_BLOCK_SIZE_REQD: "block size required",
    REP_ERR_TOO_BIG: "option payload too big",
}

# ---- information types

INFO_EXPORT: Final = 0
INFO_NAME: Final = 1
INFO_DESCRIPTION: Final = 2
INFO_BLOCK_SIZE: Final = 3

# ---- requests

CMD_READ: Final = 0
CMD_WRITE: Final = 1
CMD_DISC: Final = 2
CMD_FLUSH: Final = 3
CMD_TRIM: Final = 4
CMD_CACHE: Final = 5
CMD_WRITE_ZEROES: Final = 6
CMD_BLOCK_STATUS: Final = 7

#: As QEMU writes them in messages.
COMMAND_NAMES: Final = {
    CMD_READ: "read",
    CMD_WRITE: "write",
    CMD_DISC: "disconnect",
    CMD_FLUSH: "flush",
    CMD_TRIM: "trim",
    CMD_CACHE: "cache",
    CMD_WRITE_ZEROES: "write zeroes",
    CMD_BLOCK_STATUS: "block status",
}

CMD_FLAG_FUA: Final = 1 << 0
CMD_FLAG_NO_HOLE: Final = 1 << 1
CMD_FLAG_DF: Final = 1 << 2
CMD_FLAG_REQ_ONE: Final = 1 << 3
CMD_FLAG_FAST_ZERO: Final = 1 << 4

# ---- structured replies

REPLY_FLAG_DONE: Final = 1 << 0

REPLY_TYPE_NONE: Final = 0
REPLY_TYPE_OFFSET_DATA: Final = 1
REPLY_TYPE_OFFSET_HOLE: Final = 2
REPLY_TYPE_BLOCK_STATUS: Final = 5
#: Set in all error chunks.
REPLY_TYPE_FLAG_ERROR: Final = 1 << 15
REPLY_TYPE_ERROR: Final = REPLY_TYPE_FLAG_ERROR + 1
REPLY_TYPE_ERROR_OFFSET: Final = REPLY_TYPE_FLAG_ERROR + 2

# ---- metadata contexts

#: Flags of an extent of ``base:allocation``.
STATE_HOLE: Final = 1 << 0
STATE_ZERO: Final = 1 << 1

BASE_ALLOCATION: Final = "base:allocation"
#: Flags of an extent: 0 unallocated, 1 this layer, n the n-th one of the chain (QEMU: docs/interop/nbd.txt).
QEMU_ALLOCATION_DEPTH: Final = "qemu:allocation-depth"
#: And a bitmap's name.
QEMU_DIRTY_BITMAP: Final = "qemu:dirty-bitmap:"

# ---- limits

#: Bytes of a string (proto.md, "Conventions"): names, queries, error messages.
MAX_STRING_SIZE: Final = 4096
#: Bytes of a read's or write's payload (proto.md, "Block size constraints": less than this is no attack). QEMU:
#: NBD_MAX_BUFFER_SIZE, which is also its limit for the length of an option.
MAX_BUFFER_SIZE: Final = 32 << 20
#: Requests of one client that are in flight. QEMU: MAX_NBD_REQUESTS.
MAX_REQUESTS: Final = 16
#: The IANA's port.
DEFAULT_PORT: Final = 10809
