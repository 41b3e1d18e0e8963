# SPDX-License-Identifier: GPL-2.0-or-later
"""placeholder"""


def add_parser(commands):
    pass
