# SPDX-License-Identifier: GPL-2.0-or-later
"""The block layer: nodes that read and write byte ranges, and the drivers behind them."""

from asyncemu.block.backend import BlockBackend
from asyncemu.block.drain import drained
from asyncemu.block.driver import BlockDriver, BlockDriverOptions
from asyncemu.block.graph import BlockGraph
from asyncemu.block.move import move_nodes
from asyncemu.block.node import BlockNode

__all__ = ["BlockBackend", "BlockDriver", "BlockDriverOptions", "BlockGraph", "BlockNode", "drained", "move_nodes"]
