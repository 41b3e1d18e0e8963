# SPDX-License-Identifier: GPL-2.0-or-later
"""Other options for nodes that are open, of several at once: all of them, or none. QEMU: bdrv_reopen_multiple.

    gather       the nodes that are named, and below them those that inherit what changes
    drain        all of them: nothing is in flight while options change
    prepare      each driver, parents first (they write down what they cache while those below can still be written)
    link         other children: ``backing`` and ``file`` may name another node, ``backing`` none
    permissions  as they will be: a node that becomes writable needs more of those below, and of their locks
    commit       those below first (a file is writable again before its format writes), or abort, in reverse

Cancelled up to permissions, all is as it was; behind that it is done to the end.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from asyncemu.block.drain import drained, follow, settle
from asyncemu.block.driver import BlockDriver, BlockDriverOptions, ChildSlot
from asyncemu.block.flags import ROLE_COW
from asyncemu.block.graph_change import link_child, mark_debugged
from asyncemu.block.homes import at_home, call_to_end, to_end
from asyncemu.block.move import share_home
from asyncemu.block.order import from_above, sorted_from_above
from asyncemu.block.permissions import refresh_permissions
from asyncemu.block.tables import check_options, inherited
from asyncemu.block.types import Reopening
from asyncemu.block.unchangeable import refuse_own_changes
from asyncemu.errors import BlockError, ConfigError
from asyncemu.plain_options import REQUIRED

if TYPE_CHECKING:
    from asyncemu.block.graph import BlockGraph
    from asyncemu.block.graph_change import Undo
    from asyncemu.block.node import BlockNode

#: What a child inherits and a reopen can change.
_INHERITED: Final = ("read-only", "auto-read-only", "force-share", "cache", "discard")


async def reopen(
    graph: BlockGraph, changes: Mapping[BlockNode, Mapping[str, object]], *, keep: bool = False, where: str = "reopen"
) -> None:
    """Give each node the options in its table (without ``driver`` and ``node-name``). The graph's home.

    ``keep``: options that a table does not have stay as they are, instead of taking their defaults. A child that a
    table does not have stays either way. Raises ConfigError or BlockError; then all is as it was.
    """
    async with graph.lock.writing():
        graph.check(*changes)
        gathered = _gather(graph, changes, keep, where)
        for change in gathered:
            for child in change.links.values():
                if child is not None:
                    await share_home(change.node, child)
        async with drained(*(node for change in gathered for node in change.touched())):
            try:
                for change in gathered:
                    await call_to_end(change.node.context, change.prepare)
                await to_end(_for_each_home(gathered, _link_and_refresh))
            except BaseException as error:
                await to_end(_abort(gathered))
                if isinstance(error, OSError):
                    raise BlockError(gathered[0].node.name, error.errno or errno.EIO, "reopen") from error
                raise
            await to_end(_commit(graph, gathered))


class _Change:
    """Of one node."""

    def __init__(self, node: BlockNode, options: BlockDriverOptions, where: str) -> None:
        self.node = node
        self.options = options
        self.where = where
        #: Other children, by slot; None: none.
        self.links: dict[ChildSlot, BlockNode | None] = {}
        self.undos: list[Undo] = []
        self._before: BlockDriverOptions = node.driver.options
        self._was_read_only: bool = node.driver.read_only
        self.was_writable = not node.read_only
        self._reopening: Reopening | None = None

    def touched(self) -> list[BlockNode]:
        """Nodes whose edges change, and the one itself."""
        names = {slot.name for slot in self.links}
        before = [edge.node for edge in self.node.children if edge.name in names]
        return [self.node, *before, *(child for child in self.links.values() if child is not None)]

    async def prepare(self) -> None:
        """In the home of the node. Raises ConfigError, BlockError or OSError."""
        node, driver = self.node, self.node.driver
        if self.options.read_only and self.was_writable:
            await node.flush()
        try:
            # Children are not the driver's business.
            children = {slot.name: getattr(self._before, slot.name) for slot in self.links}
            options = self.options.replaced(**children)
            if driver.defines("prepare_reopen"):
                self._reopening = await driver.prepare_reopen(options)
            else:
                refuse_own_changes(self._before, options)
        except ConfigError as error:
            raise ConfigError(f"{self.where}.{error.where}", error.problem, error.remedy) from error

    def take_over(self) -> None:
        """Be, to those who look at the node, what it is to become; ``abort`` is the way back."""
        self.node.driver.read_only = self.options.read_only
        self.node.set_options(self.options)

    async def commit(self) -> None:
        """In the home of the node."""
        if self._reopening is not None:
            await self._reopening.commit()
        self.node.driver.options = self.options
        self.node.set_options(self.options)
        self.node.set_limits()

    async def abort(self) -> None:
        """In the home of the node, prepared or not."""
        self.take_back()
        if self._reopening is not None:
            await self._reopening.abort()

    def take_back(self) -> None:
        """The other way of ``take_over``."""
        driver = self.node.driver
        driver.options = self._before
        driver.read_only = self._was_read_only
        self.node.set_options(self._before)


# ---- the steps


async def _for_each_home(gathered: list[_Change], step: Any) -> None:
    homes: dict[Any, list[_Change]] = {}
    for change in gathered:
        homes.setdefault(change.node.context, []).append(change)
    for changes in homes.values():
        await at_home(changes[0].node, lambda changes=changes: step(changes))  # type: ignore[misc]


async def _link_and_refresh(changes: list[_Change]) -> None:
    affected: dict[BlockNode, None] = {}
    try:
        for change in changes:
            change.take_over()
            affected[change.node] = None
            for slot, child in change.links.items():
                undo = link_child(change.node, slot.role, child)
                change.undos.append(undo)
                affected.update(dict.fromkeys(undo.nodes))
        refresh_permissions(affected, writable_so_far={change.node for change in changes if change.was_writable})
    except BaseException:
        # At once: who comes meanwhile is not to see what will not be.
        _unlink(changes)
        raise


async def _unlink_and_refresh(changes: list[_Change]) -> None:
    refresh_permissions(_unlink(changes))


def _unlink(changes: list[_Change]) -> dict[BlockNode, None]:
    """Undo what ``_link_and_refresh`` did but for permissions; the nodes whose permissions may be others now."""
    affected = {change.node: None for change in changes}
    for change in reversed(changes):
        while change.undos:
            undo = change.undos.pop()
            affected.update(dict.fromkeys(undo.nodes))
            undo()
        change.take_back()
    return affected


async def _commit(graph: BlockGraph, gathered: list[_Change]) -> None:
    for change in reversed(gathered):
        await at_home(change.node, change.commit)
    await _for_each_home(gathered, _follow)
    for change in gathered:
        for undo in change.undos:
            for node in undo.nodes:
                await graph.drop_locked(node)


async def _follow(changes: list[_Change]) -> None:
    for change in changes:
        for undo in change.undos:
            mark_debugged(change.node)
            await settle(follow(change.node, *undo.nodes))


async def _abort(gathered: list[_Change]) -> None:
    for change in reversed(gathered):
        await at_home(change.node, change.abort)
    # Some homes may have got the permissions that were to be.
    await _for_each_home(gathered, _unlink_and_refresh)


# ---- what is to change


def _gather(
    graph: BlockGraph, changes: Mapping[BlockNode, Mapping[str, object]], keep: bool, where: str
) -> list[_Change]:
    found: dict[BlockNode, _Change] = {}
    for node in from_above(changes):
        table = changes.get(node)
        if table is not None:
            links = _links(graph, node, table, where)
            options = _parsed(graph, node, table, keep, where)
            check_options(options, where)
            found[node] = _Change(node, options, where)
            found[node].links = links
        if node in found:
            _gather_children(node, found, changes)
    return [found[node] for node in sorted_from_above(found)]


def _links(
    graph: BlockGraph, node: BlockNode, table: Mapping[str, object], where: str
) -> dict[ChildSlot, BlockNode | None]:
    """Children that ``table`` wants to be others. ConfigError. QEMU: bdrv_reopen_parse_file_or_backing."""
    links: dict[ChildSlot, BlockNode | None] = {}
    for slot in node.driver.children:
        key = slot.name.replace("_", "-")
        if key not in table:
            continue
        value = table[key]
        edge = next((edge for edge in node.children if edge.name == slot.name), None)
        if value in (None, "") and slot.role & ROLE_COW:
            if edge is not None:
                links[slot] = None
        elif isinstance(value, str):
            if value not in graph.nodes:
                raise ConfigError(f"{where}.{key}", f"Cannot find device='' nor node-name='{value}'")
            if edge is None or edge.node is not graph.nodes[value]:
                links[slot] = graph.nodes[value]
        elif value != getattr(node.driver.options, slot.name):
            raise ConfigError(f"{where}.{key}", f"Cannot change the option '{key}'")
    return links


def _parsed(
    graph: BlockGraph, node: BlockNode, table: Mapping[str, object], keep: bool, where: str
) -> BlockDriverOptions:
    options: BlockDriverOptions = node.driver.options
    given = {name for name, field in options.fields.items() if field.key in table}
    slots = {slot.name for slot in node.driver.children}
    # What stays in any case: children, and what has no default.
    required = {name for name, field in options.fields.items() if field.default is REQUIRED}
    kept = (set(options.fields) if keep else slots | required) - given
    stand_ins = {options.fields[name].key: getattr(options, name) for name in required - given}
    parsed = type(options).parse({**stand_ins, **table}, where, graph.directory)
    # As they are, and not as they were written: file names are relative to something else by now.
    values = {name: getattr(options, name) for name in kept if options.is_given(name)}
    if keep and "cache" in given:
        names = [name for name in parsed.cache.fields if parsed.cache.is_given(name)]
        values["cache"] = options.cache.replaced(**{name: getattr(parsed.cache, name) for name in names})
    return parsed.replaced(**values)


def _gather_children(
    node: BlockNode, found: dict[BlockNode, _Change], named: Mapping[BlockNode, Mapping[str, object]]
) -> None:
    """Those right below ``node``, which is in ``found``, that inherit what changes, and are not named themselves."""
    driver: BlockDriver[Any] = node.driver
    options = found[node].options
    for edge in node.children:
        child = edge.node
        slot = next((slot for slot in driver.children if slot.name == edge.name), None)
        if child.explicit is None or child in found or child in named or slot is None or slot in found[node].links:
            continue
        inherits = inherited(type(driver), slot, {}, options)
        current: BlockDriverOptions = child.driver.options
        changed: dict[str, Any] = {}
        for key in _INHERITED:
            name = key.replace("-", "_")
            if key in inherits and key not in child.explicit:
                value = inherits[key]
                if key == "cache":
                    assert isinstance(value, Mapping)
                    value = current.cache.replaced(direct=value["direct"], no_flush=value["no-flush"])
                if getattr(current, name) != value:
                    changed[name] = value
        if changed:
            found[child] = _Change(child, current.replaced(**changed), found[node].where)
