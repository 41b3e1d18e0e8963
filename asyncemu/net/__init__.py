# SPDX-License-Identifier: GPL-2.0-or-later
"""Network back ends. None yet: see README.md, "Supported"."""
