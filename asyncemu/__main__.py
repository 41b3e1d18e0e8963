# SPDX-License-Identifier: GPL-2.0-or-later
"""python -m asyncemu"""

from asyncemu.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
