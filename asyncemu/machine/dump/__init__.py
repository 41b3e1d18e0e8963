# SPDX-License-Identifier: GPL-2.0-or-later
"""Dumps of a guest's memory and registers into core files."""
