# SPDX-License-Identifier: GPL-2.0-or-later
"""http, https: a file on a web server as a disk that can be read. QEMU: block/curl.c.

source.py      the server: how large is it, and these bytes of it, please
read_ahead.py  what was fetched, and is being fetched
driver.py      the driver
"""

from asyncemu.block.http.driver import HttpDriver, HttpOptions, HttpsDriver

__all__ = ["HttpDriver", "HttpOptions", "HttpsDriver"]
