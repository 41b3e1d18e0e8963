# SPDX-License-Identifier: GPL-2.0-or-later
"""``-o`` of a new qcow2 image: QEMU's names and descriptions. creation_check.py says what they mean."""

from __future__ import annotations

from asyncemu.plain_options import PlainOptions, option
from asyncemu.size import Size


class Qcow2Creation(PlainOptions):
    """``-o`` of a new qcow2 image."""

    backing_file: str = option(default="", description="File name of a base image")
    backing_fmt: str = option(default="", description="Image format of the base image")
    cluster_size: Size = option(default=65536, description="qcow2 cluster size")
    compat: str = option(default="1.1", description="Compatibility level (v2 [0.10] or v3 [1.1])")
    compression_type: str = option(default="zlib", description="Compression method used for image cluster compression")
    data_file: str = option(default="", description="File name of an external data file")
    data_file_raw: bool = option(default=False, description="The external data file must stay valid as a raw image")
    encrypt_cipher_alg: str = option(default="", description="Name of encryption cipher algorithm")
    encrypt_cipher_mode: str = option(default="", description="Name of encryption cipher mode")
    encrypt_format: str = option(default="", description="Encrypt the image, format choices: 'aes', 'luks'")
    encrypt_hash_alg: str = option(default="", description="Name of encryption hash algorithm")
    encrypt_iter_time: int = option(default=0, description="Time to spend in PBKDF in milliseconds")
    encrypt_ivgen_alg: str = option(default="", description="Name of IV generator algorithm")
    encrypt_ivgen_hash_alg: str = option(default="", description="Name of IV generator hash algorithm")
    encrypt_key_secret: str = option(default="", description="ID of secret providing qcow AES key or LUKS passphrase")
    encryption: bool = option(
        default=False,
        description="Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)",
    )
    extended_l2: bool = option(default=False, description="Extended L2 tables")
    lazy_refcounts: bool = option(default=False, description="Postpone refcount updates")
    preallocation: str = option(
        default="off", description="Preallocation mode (allowed values: off, metadata, falloc, full)"
    )
    refcount_bits: int = option(default=16, description="Width of a reference count entry in bits")
    size: Size = option(default=0, description="Virtual disk size")
