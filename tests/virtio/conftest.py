# SPDX-License-Identifier: GPL-2.0-or-later
"""The tests here use a DeviceBench."""

from tests.bench import bench as bench
