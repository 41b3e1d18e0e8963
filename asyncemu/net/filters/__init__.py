# SPDX-License-Identifier: GPL-2.0-or-later
"""The filters that vm.toml can put on the link of a netdev: a module each."""
