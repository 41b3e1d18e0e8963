# SPDX-License-Identifier: GPL-2.0-or-later
"""Only what pyproject.toml can't say: the one native helper, left out where there is no C compiler."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension("asyncemu.vcpu.tcg._native", ["asyncemu/vcpu/tcg/_native.c"], optional=True),
    ]
)
