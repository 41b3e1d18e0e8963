# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks with goals: ``python -m benchmarks run NAME``."""
