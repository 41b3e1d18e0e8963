# SPDX-License-Identifier: GPL-2.0-or-later
"""From a main coroutine to an exit status."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Iterator

import pytest

from asyncemu.block import BlockNode
from asyncemu.cli.tools.failure import ToolError
from asyncemu.cli.tools.objects import UserObjects
from asyncemu.cli.tools.report import name_program
from asyncemu.cli.tools.runner import ToolSession, run_tool
from asyncemu.errors import BlockError


@pytest.fixture(autouse=True)
def program() -> Iterator[None]:
    """Its name; and the block layer's logger as it was."""
    name_program("tool", "tool")
    logger = logging.getLogger("asyncemu.block")
    before = list(logger.handlers), logger.propagate
    yield
    logger.handlers, logger.propagate = before


async def _open_disk(session: ToolSession) -> BlockNode:
    return await session.graph.add_table({"driver": "null-co", "size": 4096}, "image")


def test_status_is_the_coroutines_and_the_graph_is_closed() -> None:
    nodes: list[BlockNode] = []

    async def main(session: ToolSession) -> int:
        nodes.append(await _open_disk(session))
        return 7

    assert run_tool(main) == 7
    assert nodes[0].closed


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ToolError("first", "second", status=1), "tool: first\ntool: second\n"),
        (BlockError("disk", errno.EIO, "read"), "tool: Input/output error\n"),
        (OSError(errno.ENOSPC, "x"), "tool: No space left on device\n"),
    ],
)
def test_expected_error_is_told_and_the_graph_is_closed(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes: list[BlockNode] = []

    async def main(session: ToolSession) -> int:
        nodes.append(await _open_disk(session))
        raise error

    assert run_tool(main) == 1
    assert nodes[0].closed
    assert capsys.readouterr().err == line


def test_bug_is_not_hidden_and_the_graph_is_closed() -> None:
    nodes: list[BlockNode] = []

    async def main(session: ToolSession) -> int:
        nodes.append(await _open_disk(session))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_tool(main)
    assert nodes[0].closed


def test_failed_close_is_told_and_changes_the_status(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flush(self: BlockNode) -> None:
        raise BlockError("disk", errno.EIO, "flush")

    async def main(session: ToolSession) -> int:
        await _open_disk(session)
        monkeypatch.setattr(BlockNode, "flush", flush)
        return 0

    assert run_tool(main) == 1
    assert capsys.readouterr().err == "tool: Input/output error\n"


def test_warnings_of_the_block_layer_are_the_tools(capsys: pytest.CaptureFixture[str]) -> None:
    async def main(session: ToolSession) -> int:
        logging.getLogger("asyncemu.block").warning("Failed to set extent size hint")
        logging.getLogger("asyncemu.block.qcow2").warning("WARNING: as it is")
        return 0

    assert run_tool(main) == 0
    assert capsys.readouterr().err == "tool: warning: Failed to set extent size hint\nWARNING: as it is\n"


def test_secrets_and_throttle_groups_are_the_graphs() -> None:
    objects = UserObjects()
    objects.add("secret,id=key,data=abc")
    objects.add("throttle-group,id=slow,x-iops-total=10")

    async def main(session: ToolSession) -> int:
        assert session.graph.secrets == {"key": b"abc"}
        assert "slow" in session.graph.throttle_groups
        return 0

    assert run_tool(main, objects) == 0


def test_throughput_runs_on_uvloop() -> None:
    async def main(session: ToolSession) -> int:
        return int("uvloop" in type(session.context.loop).__module__)

    assert run_tool(main, throughput=True) == 1
    assert "uvloop" in sys.modules
